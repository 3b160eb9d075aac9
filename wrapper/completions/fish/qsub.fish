# Completion of qsub for fish: that of vsub.
complete -c qsub -w vsub
