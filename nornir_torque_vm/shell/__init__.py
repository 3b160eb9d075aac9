"""Reading what a shell script sets, without a shell."""
