"""What runs on a submit host: it reads what qsub is asked for and asks qsub for what the guests need."""
