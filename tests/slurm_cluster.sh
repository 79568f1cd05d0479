# To be sourced: a Slurm of one controller and the nodes n1 and n2, all on this machine and of this user,
# with munge, ports and folders of its own; jobs of the partition `urgent` preempt those of `main`, the
# default. `start_slurm FOLDER` first, `stop_slurm` last.

# The first of three neighbouring ports on which nobody listens.
free_ports() {
  local port
  for port in $(shuf -i 20000-32000 -n 50); do
    for p in $port $((port + 1)) $((port + 2)); do
      (exec 3<>/dev/tcp/127.0.0.1/$p) 2>/dev/null && continue 2
    done
    echo "$port"
    return
  done
}

write_slurm_conf() {
  local folder=$1 port=$2 host user
  host=$(uname -n)
  host=${host%%.*}
  user=$(id -un)
  echo "CgroupPlugin=cgroup/v1" >"$folder/cgroup.conf"
  cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
SlurmctldPort=$port
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmdSpoolDir=$folder/spool.%n
TmpFS=$folder/tmp.%n
StateSaveLocation=$folder/state
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/jobs.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,batch_sched_delay=0
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=20
CommunicationParameters=NoAddrCache
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=16 Sockets=1 CoresPerSocket=16 ThreadsPerCore=1 RealMemory=1000
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=16 Sockets=1 CoresPerSocket=16 ThreadsPerCore=1 RealMemory=1000
PartitionName=main Nodes=ALL Default=YES State=UP PriorityTier=1 GraceTime=20
PartitionName=urgent Nodes=ALL State=UP PriorityTier=2 PreemptMode=OFF
CONF
}

slurm_is_idle() { [ "$(sinfo --noheader --format='%D %T' 2>/dev/null)" = "2 idle" ]; }

# start_slurm FOLDER: an empty folder; sets SLURM_CONF. Fails where the machine does not allow it.
start_slurm() {
  local folder=$1 node
  PATH=$PATH:/usr/sbin:/sbin
  mkdir -p "$folder"/{state,spool.n1,spool.n2,tmp.n1,tmp.n2}
  write_slurm_conf "$folder" "$(free_ports)"
  stop_slurm_after $$ "$folder/slurm.conf"
  export SLURM_CONF=$folder/slurm.conf
  head -c 128 /dev/urandom >"$folder/munge.key"
  chmod 600 "$folder/munge.key"
  # --force: the socket may lie in a folder that is this user's alone.
  munged --force --num-threads=2 --key-file="$folder/munge.key" --socket="$folder/munge.socket" \
    --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" --seed-file="$folder/munged.seed" || return
  slurmctld -f "$SLURM_CONF" || return
  for node in n1 n2; do slurmd -N $node -f "$SLURM_CONF" || return; done
  for _ in $(seq 100); do
    slurm_is_idle && return
    sleep 0.1
  done
  return 1
}

# Ends the daemons, the jobs and all that they have started: what has this SLURM_CONF in its environment.
# Again and again, since they start others meanwhile.
stop_slurm() {
  local files
  for _ in $(seq 100); do
    files=$(grep -lszxF "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ)
    [ -n "$files" ] || break
    kill -9 $(cut -d/ -f3 <<<"$files") 2>/dev/null
    sleep 0.05
  done
}

# stop_slurm_after PROCESS SLURM_CONF: should that process be killed, so that its traps do not run. Belongs to
# no session or parent that might be killed with it.
stop_slurm_after() {
  (setsid bash -c '. "$1"; SLURM_CONF=$3; while kill -0 "$2"; do sleep 1; done; stop_slurm' \
    - "${BASH_SOURCE[0]}" "$@" </dev/null >/dev/null 2>&1 &)
}
