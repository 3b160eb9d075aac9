# Completion of vsub for fish: -vm requests, and the options of TORQUE's qsub.
# Made from the table of keys: python -m nornir_torque_vm.wrapper.completion wrapper/completions

function __torque_vm_request --description 'Complete the value of -vm'
    set -l token (commandline -ct)
    set -l given (string replace -r '[^,]*$' '' -- "$token")
    set -l item (string replace -r '^.*,' '' -- "$token")
    if not string match -q '*=*' -- "$item"
        __torque_vm_keys | while read -l -d \t key about
            string match -q "*,$key=*" -- (string lower -- ",$given")
            or printf '%s%s=\t%s\n' "$given" $key $about
        end
        test -n "$given"
        or printf 'help\texplain the keys\n'
        return
    end
    set -l key (string replace -r '=.*' '' -- "$item")
    set -l value (string replace -r '^[^=]*=' '' -- "$item")
    set -l found
    switch (string lower -- "$key")
        case img
            set found (__torque_vm_images "$value")
        case distro
            set found debian ubuntu redhat centos osv
        case vcpu_pinning
            set found true false (__torque_vm_files "$value")
        case vm_prologue
            set found (__torque_vm_files "$value")
        case vm_epilogue
            set found (__torque_vm_files "$value")
        case metadata
            set found (__torque_vm_files "$value")
        case disk
            set found (__torque_vm_files "$value")
        case fs_type
            set found sharedfs ramdisk
        case hypervisor
            set found kvm skvm qemu
        case iocm
            set found true false
        case vrdma
            set found true false
        case unclot
            set found true false
    end
    for word in $found
        printf '%s%s=%s\n' "$given" "$key" $word
    end
end

function __torque_vm_files
    # As of a command that fish knows nothing about: all it can offer are files.
    complete -C"__torque_vm_no_such_command $argv"
end

function __torque_vm_images
    if string match -q '*/*' -- "$argv"
        __torque_vm_files "$argv"
    else
        vsub --list-images=names 2>/dev/null </dev/null
    end
end

function __torque_vm_keys
    printf '%s\t%s\n' img 'image the guests boot from: its name in the image pool, or, where the site allows it, a path'
    printf '%s\t%s\n' distro 'operating system family of the image'
    printf '%s\t%s\n' arch 'processor architecture of the guests'
    printf '%s\t%s\n' ram 'memory of each guest'
    printf '%s\t%s\n' vcpus 'virtual processors of each guest'
    printf '%s\t%s\n' vms_per_node 'guests on each node of the job'
    printf '%s\t%s\n' vcpu_pinning 'whether virtual processors stay on physical ones of the job: chosen from the node\'s topology, floating among them, or as a file maps them'
    printf '%s\t%s\n' vm_prologue 'script that runs in every guest before the job'
    printf '%s\t%s\n' vm_epilogue 'script that runs in every guest after the job'
    printf '%s\t%s\n' metadata 'file with more cloud-init settings for the guests, as far as the site allows them'
    printf '%s\t%s\n' disk 'disk image of the user that the first guest gets as /data and that stays after the job'
    printf '%s\t%s\n' fs_type 'where the guests\' disks live: in the volume directory, or in the node\'s memory'
    printf '%s\t%s\n' hypervisor 'kvm for hardware virtualization, skvm for the site\'s own emulator with it, qemu for slow emulation that works everywhere'
    printf '%s\t%s\n' iocm 'whether processors are kept for the guests\' input and output'
    printf '%s\t%s\n' iocm_min_cores 'processors kept for input and output at least'
    printf '%s\t%s\n' iocm_max_cores 'processors kept for input and output at most'
    printf '%s\t%s\n' vrdma 'whether guests get a device for remote memory access'
    printf '%s\t%s\n' unclot 'whether the guests of a node share memory for communication'
    printf '%s\t%s\n' unclot_shmem 'size of that shared memory; rounded up to a power of two'
end

complete -c vsub -o vm -x -a '(__torque_vm_request)' -d 'run the job in virtual machines'
complete -c vsub -s a -d 'start no earlier than [[CC]YY]MMDDhhmm[.SS]' -x
complete -c vsub -s A -d 'account the job is charged to' -x
complete -c vsub -s b -d 'how long to go on trying to reach the server' -x
complete -c vsub -s c -d 'when checkpoints are made' -x -a 'none enabled shutdown periodic'
complete -c vsub -s C -d 'how directives begin in the script instead of #PBS' -x
complete -c vsub -s d -d 'directory in which the job starts' -x -a '(__fish_complete_directories)'
complete -c vsub -s D -d 'root directory of the job' -x -a '(__fish_complete_directories)'
complete -c vsub -s e -d 'file for the job\'s errors' -r -F
complete -c vsub -s E -d 'nodes are for this job alone'
complete -c vsub -s f -d 'the job survives the loss of a node that is not its first'
complete -c vsub -s F -d 'arguments for the job script, as one word' -x
complete -c vsub -s h -d 'hold the job until it is released'
complete -c vsub -s i -d 'how many jobs of an array may be idle at a time' -x
complete -c vsub -s I -d 'interactive: the job is a shell in this terminal'
complete -c vsub -s j -d 'output and errors in one file' -x -a 'oe eo n'
complete -c vsub -s J -d 'identifier of the job, for administrators' -x
complete -c vsub -s k -d 'output that stays on the node' -x -a 'e o eo oe n'
complete -c vsub -s K -d 'time between asking the job to end and killing it' -x
complete -c vsub -s l -d 'resources, such as nodes=2:ppn=4,walltime=1:00:00' -x
complete -c vsub -s L -d 'resources in the form for NUMA systems; not together with -vm' -x
complete -c vsub -s m -d 'when mail is sent: any of a, b, e and f, or n, or p' -x
complete -c vsub -s M -d 'who gets the mail' -x
complete -c vsub -s n -d 'nodes are for this job alone'
complete -c vsub -s N -d 'name of the job' -x
complete -c vsub -s o -d 'file for the job\'s output' -r -F
complete -c vsub -s p -d 'priority of the job, from -1024 to 1023' -x
complete -c vsub -s P -d 'account the job is submitted for, for administrators' -x
complete -c vsub -s q -d 'queue, @server or queue@server' -x
complete -c vsub -s r -d 'whether the job may be run again' -x -a 'y n'
complete -c vsub -s S -d 'shell that starts the job script' -r -F
complete -c vsub -s t -d 'members of a job array, such as 1-10%2' -x
complete -c vsub -s T -d 'which prologue and epilogue run; not together with -vm' -x
complete -c vsub -s u -d 'account under which the job runs' -x
complete -c vsub -s v -d 'environment variables for the job' -x
complete -c vsub -s V -d 'the whole environment goes to the job'
complete -c vsub -s w -d 'working directory of the job' -x -a '(__fish_complete_directories)'
complete -c vsub -s W -d 'more attributes, such as depend=afterok:17' -x
complete -c vsub -s x -d 'with -I: run the script as a command'
complete -c vsub -s X -d 'forward X11'
complete -c vsub -s z -d 'do not print the job\'s identifier'
complete -c vsub -l dry-run -d 'check everything, show what would be submitted and why, submit nothing'
complete -c vsub -l explain -d 'the same as --dry-run'
complete -c vsub -l list-images -d 'list the images that jobs can boot'
complete -c vsub -l help -d 'explain the options'
