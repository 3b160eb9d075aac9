-- For Lmod; Environment Modules read torque-vm beside it. The install command sets the two directories.
local fronts = "/opt/torque-vm/wrapper"
local manuals = "/opt/torque-vm/share/man"

whatis("Batch jobs inside fresh virtual machines: qsub -vm ...")

help([[
Puts a qsub first on PATH that understands -vm, and vsub, the same under another name.
Jobs without -vm go to TORQUE's qsub as they are. See: qsub -vm help, man vsub.]])

conflict("torque-vm")
prepend_path("PATH", fronts)
prepend_path("MANPATH", manuals)
