# Completion of torque-vm for fish 3.1 and later: the command itself is asked what can follow.

function __torque_vm_command --description 'What can follow on a command line of torque-vm'
    set -l token (commandline -ct)
    set -l option (string match -r -- '^--[^=]+=' "$token")
    set -l begun (string replace -r -- '^--[^=]+=' '' "$token")
    set -l line (commandline -cp)
    _TORQUE_VM_COMPLETE=fish_complete COMP_LINE="$line" torque-vm 2>/dev/null </dev/null |
        while read -l -d \t kind value about
            switch $kind
                case file
                    printf "$option%s\n" (__fish_complete_path "$begun")
                case dir
                    printf "$option%s\n" (__fish_complete_directories "$begun")
                case plain part
                    printf '%s%s\t%s\n' "$option" $value "$about"
            end
        end
end

complete -c torque-vm -k -f -a '(__torque_vm_command)'
