"""The engines that run cells: processes of this machine, a Ray cluster, a Slurm cluster."""
