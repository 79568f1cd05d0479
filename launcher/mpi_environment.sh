# To be sourced: lets mpirun start several ranks on one machine, whatever its size and user. OpenMPI 5 has
# its mpirun from PRRTE, hence two names for what concerns the start.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1  # containers run as root
export PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1                        # more ranks than cores
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
export OMPI_MCA_hwloc_base_binding_policy=none                    # threads may use all cores
export PRTE_MCA_hwloc_default_binding_policy=none
export OMPI_MCA_mpi_yield_when_idle=1                             # a waiting rank gives up its core
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=self,vader                   # shared memory only
export OMP_WAIT_POLICY=passive                                    # and so does a waiting thread
