"""The manual page vsub(1), from the table of keys.

``python -m nornir_torque_vm.wrapper.manpage > wrapper/man/man1/vsub.1`` renews it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from nornir_torque_vm import __version__
from nornir_torque_vm.config.fields import Field
from nornir_torque_vm.config.settings import DEFAULT_PATH
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.wrapper.helptext import default_of
from nornir_torque_vm.wrapper.options import NAMES, OWN_OPTIONS
from nornir_torque_vm.wrapper.roff import example, heading, inline, item, page, paragraph, section


def manual() -> str:
    """Return the page in man(7)."""
    parts = (
        heading("VSUB", f"nornir-torque-vm {__version__}"),
        *_name(),
        *_description(),
        *_options(),
        *_keys(),
        *_script(),
        *_changes(),
        *_surroundings(),
        *_examples(),
    )
    return page(parts)


def _name() -> Iterator[str]:
    yield section("NAME")
    yield inline("vsub, qsub - submit a batch job that runs in fresh virtual machines") + "\n"
    yield section("SYNOPSIS")
    for number, line in enumerate(
        (
            "`vsub` [`-vm` *key*=*value*[,*key*=*value*...]]... [*option*...] [*script*]",
            "`vsub` {`--dry-run`|`--explain`} [`-vm` *request*]... [*option*...] [*script*]",
            f"`vsub` `--list-images`[={NAMES}]",
            "`vsub` `-vm help`",
            "`vsub` `--help`",
        )
    ):
        yield (".br\n" if number else "") + inline(line) + "\n"


def _description() -> Iterator[str]:
    yield section("DESCRIPTION")
    yield paragraph(
        "`vsub` is qsub(1) of TORQUE with one more option, `-vm`. A job with it runs inside virtual "
        "machines, called guests, which are booted for this job on the nodes TORQUE gives it, and destroyed "
        "after it. The job script stays what it is: it starts in the first guest, with its output, its "
        "arguments, its signals and, for an interactive job, the terminal."
    )
    yield paragraph(
        "Without `-vm`, on the command line or in the script, the real `qsub` gets exactly the words that "
        "were typed. Where the site's module is loaded (`module load torque-vm`) the same program is "
        "also called `qsub`; the only difference is that `qsub --help` stays that of the real one."
    )
    yield paragraph(
        "Everything is checked before anything is submitted: the image, the size of the guests, what "
        "the site allows. What is wrong is one line on standard error, and no job."
    )


def _options() -> Iterator[str]:
    yield section("OPTIONS")
    yield paragraph("All options of qsub(1) keep their meaning. These are added:")
    yield item(
        "`-vm` *key*=*value*[,*key*=*value*...]",
        "Run the job in guests, and say which. `-vm` is a word of its own, its value is the next word, "
        "and it may be given several times, before and after other options. "
        "`-vmx=1` in one word is still qsub's `-v mx=1`.",
    )
    yield item("`-vm help`", "Explain the keys, with the site's defaults.")
    for name, text in OWN_OPTIONS:
        yield item(f"`{name}`", f"{text[0].upper()}{text[1:]}.")
    yield item("`--help`", "Of `vsub`: its own options.")
    yield paragraph(
        "Not together with a request for guests: `-T` and `-l other=`, which the request itself needs, and "
        "the ways to ask for processors that do not say what each node gives: `-L`, `-l procs=`, "
        "`-l ncpus=`, `-l size=`, `-l mpp`*...*"
    )


def _keys() -> Iterator[str]:
    yield section("THE -vm OPTION")
    yield paragraph(
        "Keys may be written in any case. When one is given several times, the last one counts. A value may "
        "hold an equals sign but no comma. Booleans are `true`, `yes`, `on`, `enabled` and their opposites; "
        "`0` and `1` are refused, because an earlier system gave them inverted meaning. Sizes are "
        "numbers with `K`, `M`, `G` or `T`, each 1024 times the one before."
    )
    yield paragraph(
        "What is not given comes from the site's settings, named below. The family of the image (`distro`) "
        "comes first from the site's image catalogue, then from a name such as `debian` in the file name."
    )
    for key in KEYS:
        yield item(f"`{key.name}=`*value*", _about(key))


def _about(key: Field) -> str:
    sentences = [f"{_plain(key.help)}. Value: {_plain(key.kind.words)}."]
    if key.aliases:
        sentences.append(f"Also written {', '.join(f'`{name}=`' for name in key.aliases)}.")
    if default := default_of(key):
        sentences.append(f"Default: the {default.replace(key.default_from, f'`{key.default_from}`')}.")
    return " ".join(sentences)


def _plain(text: str) -> str:
    """Words of the table, in which an asterisk or a backquote is no markup."""
    return text.replace("*", "").replace("`", "'")


def _script() -> Iterator[str]:
    yield section("IN THE SCRIPT")
    yield paragraph("The request may stand in the script's header, in as many directives as one likes:")
    yield example(
        ("#!/bin/bash", "#PBS -l nodes=2,walltime=0:30:00", "#PBS -vm img=debian.qcow2,vcpus=4,ram=8G")
    )
    yield paragraph(
        "The rules are those of qsub's directives: the prefix may be changed with `-C`, a backslash at the "
        "end continues the line, the first command ends the header. Key by key, the command line goes "
        "before the script. The job gets a copy of the script in which only these requests are "
        "gone; line numbers stay. Plain `qsub` understands such directives too where the site has "
        "installed the submit filter; without it, TORQUE silently takes them for `-v m`, and the job runs "
        "without guests."
    )


def _changes() -> Iterator[str]:
    yield section("WHAT CHANGES IN THE JOB")
    yield paragraph("Compared with the same job without `-vm`, TORQUE sees:")
    yield item("`-T vm`", "The nodes run the prologue and epilogue that boot and destroy guests.")
    yield item(
        "`-l other=vm1:`*...*",
        "The request, encoded. `qstat -f` shows it. TORQUE keeps 2048 bytes for all resources of a job "
        "together, so a request that would not fit is refused.",
    )
    yield item(
        "`-l nodes=`*...*",
        "Each part is raised to the processors its guests need on a node: *vcpus* times *vms_per_node*, and "
        "what the site keeps for the node itself. A node property, by default `vm`, is added to each part, "
        "so that the job gets nodes that can run guests. Without `nodes=`, one node is asked for.",
    )
    yield item(
        "`-l mem=`, `vmem=`",
        "Raised, where given, to the memory of all guests of the job and of their nodes; `mem` is added "
        "where the site wants it. `pmem` and `pvmem` are raised to one processor's share of it.",
    )
    yield item(
        "`-l naccesspolicy=uniqueuser`",
        "Added where the site gives a node to one user at a time, unless the job says otherwise.",
    )
    yield item(
        "`-N` *name*",
        "Added when TORQUE gets a copy of the script, so that the job is called after your file as always.",
    )
    yield paragraph(
        "When a number was raised, one line on standard error says so. `--dry-run` shows all of it. Guests "
        "have to boot within the time that the site sets (`timeout`); the job's `walltime` begins after that."
    )


def _surroundings() -> Iterator[str]:
    yield section("ENVIRONMENT")
    yield item(
        "`DISABLE_MIKELANGELO_HPC_STACK`",
        "If it is `true`, all words go to the real qsub, which does not know `-vm`.",
    )
    yield item(
        "`POSIXLY_CORRECT`", "If it is set, options end at the first word that is none, as for qsub itself."
    )
    yield paragraph("qsub(1) reads more variables; they keep their meaning.")
    yield section("FILES")
    yield item(f"`{DEFAULT_PATH}`", "What the site allows, and its defaults.")
    yield item("*image_pool*`/catalogue.json`", "What the site says of its images.")
    yield section("EXIT STATUS")
    yield paragraph("When a job is submitted, the status is that of qsub. Before that:")
    yield item("`0`", "Help, images or an explanation were shown.")
    yield item("`1`", "The site has to mend something, such as its settings. Nothing was submitted.")
    yield item("`2`", "The request or the command line has to be changed. Nothing was submitted.")
    yield item("`126`, `127`", "The real qsub cannot be executed, or is not where the settings say.")


def _examples() -> Iterator[str]:
    yield section("EXAMPLES")
    yield paragraph("Two nodes, on each of them two guests of two processors and 4 GiB:")
    yield example(("vsub -l nodes=2 -vm vms_per_node=2,vcpus=2,ram=4G job.sh",))
    yield paragraph("An image other than the default, and arguments for the script:")
    yield example(("vsub -vm img=debian.qcow2 -F 'input.dat 3' job.sh",))
    yield paragraph("Ten jobs, each in guests of its own; what would be submitted:")
    yield example(("vsub --dry-run -t 1-10 -vm vcpus=4 job.sh",))
    yield section("SEE ALSO")
    yield paragraph("`qsub`(1), `qstat`(1), `qdel`(1), `torque-vm --help`")


if __name__ == "__main__":
    sys.stdout.write(manual())
