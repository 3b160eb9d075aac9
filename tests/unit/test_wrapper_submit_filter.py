"""The submit filter, called as TORQUE calls it: scripts that ask for guests, and all others."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filter_kit import FilterHost, lines

from nornir_torque_vm.request import Request, find_in_resources

ASKING = lines("-N named", "-vm ram=192M,vcpus=2", "-l walltime=1:00")


@pytest.fixture
def host(tmp_path: Path) -> FilterHost:
    return FilterHost(tmp_path)


def request_of(options: dict[str, str | None]) -> Request | None:
    return find_in_resources(options["l"] or "")


UNTOUCHED = {
    "a plain job": lines("-N x", "-l nodes=2"),
    "nothing": b"",
    "no newline at the end": b"#PBS -N x",
    "a list of variables": lines("-vmyvar=3", "-v m"),
    "behind the header": b"echo\n#PBS -vm ram=1G\n",
    "in a comment": b"##PBS -vm ram=1G\n# PBS -vm ram=1G\n#pbs -vm ram=1G\necho\n",
    "a value of another option": lines("-N -vm"),
    "bytes": b"#PBS -N x -vm\xff\r\n\xff\xfe\x80 -vm\r\n",
    "a long header": b"# remark\n" * 9000 + b"echo -vm",
    "the call for -I": b"\n\n",
}


@pytest.mark.parametrize("script", UNTOUCHED.values(), ids=UNTOUCHED.keys())
def test_a_script_that_asks_for_no_guests_comes_out_byte_for_byte(
    host: FilterHost, script: str | bytes
) -> None:
    """Whether the shell or Python decides."""
    for words in (("job.sh",), ("-C", "#PBS", "job.sh"), ("-z", "-v", "A=$b c;d", "job.sh")):
        done = host.submit(script, *words)
        assert (done.code, done.err) == (0, "")
        assert done.script == (script if isinstance(script, bytes) else script.encode())


def test_a_request_becomes_the_options_of_a_job_with_guests(host: FilterHost) -> None:
    """The other directives stay, ours come last, and no line changes its number."""
    done = host.submit(ASKING, "job.sh")
    assert done.options["N"] == "named"
    assert done.options["T"] == "vm"
    assert request_of(done.options) == Request(ram=192 << 20, vcpus=2)
    assert (done.options["l"] or "").endswith(",nodes=1:ppn=2:vm")
    assert not done.header.has_request
    assert done.script.count(b"\n") == ASKING.count("\n")
    assert done.script.splitlines()[-1] == b"echo hello"
    assert done.err.startswith("torque-vm: asked for nodes=1:ppn=2:vm instead of one processor: ")


@pytest.mark.parametrize(
    "directives",
    [
        ("-vm vcpus=2,ram=64M", "-vm ram=96M"),
        ("-l nodes=2:ppn=1,mem=64mb -vm vms_per_node=2,ram=192M",),
        ("-N x\t-vm ram=1G -j oe  # a remark", "-l nodes=1", "-l nodes=3+1:gpus=1"),
        ("-vm vm_prologue=my\\ script.sh,vm_epilogue=it\\'s.sh",),
        ("-vm \\\nram=1G \\\n -l nodes=2",),
    ],
)
def test_the_filter_and_the_wrapper_ask_for_the_same(host: FilterHost, directives: tuple[str, ...]) -> None:
    """A script submitted by plain qsub or by the wrapper is the same job."""
    for name in ("my script.sh", "it's.sh"):
        host.script("exit 0\n", name)
    script = lines(*directives)
    host.script(script)
    wrapped, filtered = host.run("job.sh").qsub, host.submit(script, "job.sh")
    place = wrapped.words.index("-T")
    assert [filtered.options["T"], filtered.options["l"]] == wrapped.words[place + 1 : place + 4 : 2]


def test_what_came_out_goes_through_unchanged(host: FilterHost) -> None:
    """Twice the filter is once the filter."""
    once = host.submit(ASKING, "job.sh")
    twice = host.submit(once.script, "job.sh")
    assert (twice.script, twice.err) == (once.script, "")


@pytest.mark.parametrize(
    "words", [["job.sh"], ["-I", "-x", "job.sh"], ["-vm", "vms_per_node=2", "-l", "nodes=2", "job.sh"]]
)
def test_what_the_wrapper_made_goes_through_unchanged(host: FilterHost, words: list[str]) -> None:
    """The wrapper's words and the copy it gives to qsub; the path itself for ``-I -x``."""
    host.script(ASKING)
    wrapped = host.run(*words).qsub
    script = next(iter(wrapped.copies.values()), ASKING)
    done = host.submit(script, *wrapped.words)
    assert (done.script.decode(), done.err) == (script, "")


def test_a_request_on_the_command_line_goes_before_the_scripts(host: FilterHost) -> None:
    """Somebody else put ``-vm`` into the script, as a site's filter may: qsub must not read ``-v m``."""
    done = host.submit(ASKING, "-T", "vm", "-l", "other=vm1:vcpus=1,nodes=1:ppn=1:vm", "job.sh")
    assert done.header.has_request is False
    assert set(done.options) == {"N", "l"}
    assert "-vm in the script does not count" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("-N", "other", "-q", "batch", "-v", "A=1,B=2", "-j", "oe"),
        ("-l", "walltime=2:00"),
        ("-l", "nodes=2:ppn=2:vm"),
        ("-lnodes=1:vm:ppn=8:fast,mem=4gb",),
    ],
)
def test_a_command_line_that_leaves_room_does_not_matter(host: FilterHost, words: tuple[str, ...]) -> None:
    """What it says of other things, or says well enough."""
    assert host.submit(lines("-vm vcpus=2,ram=192M"), *words, "job.sh").options["T"] == "vm"


@pytest.mark.parametrize(
    ("words", "given", "needed"),
    [
        (("-l", "nodes=2"), "nodes=2", "nodes=2:ppn=2:vm"),
        (("-l", "nodes=1:ppn=4"), "nodes=1:ppn=4", "nodes=1:ppn=4:vm"),
        (("-vm", "-l", "nodes=2"), "nodes=2", "nodes=2:ppn=2:vm"),
        (("-l", "nodes=a+b", "-l", "mem=1gb"), "nodes=a+b,mem=1gb", "nodes=a:ppn=2:vm+b:ppn=2:vm,mem=1408mb"),
    ],
)
def test_a_command_line_that_asks_for_too_little_is_refused(
    host: FilterHost, words: tuple[str, ...], given: str, needed: str
) -> None:
    """It beats what a filter writes; the sentence says what to write, and that is then enough.

    To qsub ``-vm`` is ``-v m`` and has no value of its own: the wrapper is not in front.
    """
    script = lines("-vm vcpus=2,ram=192M")
    assert host.submit(script, *words, "job.sh").refusal == (
        f"the command line asks for {given}, which does not do for the guests the script asks for; "
        f"write -l {needed}, or let the wrapper do it: module load torque-vm"
    )
    assert host.submit(script, "-l", needed, "job.sh").code == 0


@pytest.mark.parametrize(
    ("script", "words", "sentence"),
    [
        (ASKING, ("-T", "docker"), "-T docker cannot be combined with -vm"),
        (ASKING, ("-l", "other=x"), "-l other= cannot be combined with -vm"),
        (ASKING, ("-L", "tasks=2"), "-L 'tasks=2' cannot be raised"),
        (ASKING, ("-l", "procs=4"), "-l procs=4 does not say"),
        (lines("-T docker", "-vm ram=1G"), (), "script line 2: -T docker cannot be combined with -vm"),
        (lines("-N x", "-vm"), (), "script line 3: -vm has no value"),
        (lines("-vm rom=1G"), (), "script line 2: unknown -vm key 'rom'"),
        (lines("-vm img=nothing.qcow2"), (), "script line 2: "),
        (lines("-vm vms_per_node=99"), (), "script line 2: vms_per_node is 99, and the site allows 8"),
        ("#PBS -vm ram=1G\n#PBS -N x\\", (), "script line 2: the directive ends in a backslash"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_submitted(
    host: FilterHost, script: str, words: tuple[str, ...], sentence: str
) -> None:
    """The sentences are the wrapper's; qsub adds that a filter returned an error."""
    assert host.submit(script, *words, "job.sh").refusal.startswith(sentence)


def test_guests_that_the_site_does_not_allow_are_refused(host: FilterHost) -> None:
    """Where a plain qsub submits them."""
    (host.pool / "osv.qcow2").write_bytes((host.pool / "debian.qcow2").read_bytes())
    refusal = host.submit(lines("-vm img=osv.qcow2"), "job.sh").refusal
    assert refusal.startswith("script line 2: this site runs no guests of OSv; choose another image")


def test_hosts_that_are_switched_off_refuse_guests_only(host: FilterHost) -> None:
    """Jobs without guests are none of our business."""
    host.set(disabled_hosts_list="*")
    assert host.submit(ASKING).refusal.startswith("jobs with guests are not submitted on ")
    assert host.submit(lines("-N x")).code == 0


@pytest.mark.parametrize("how", ["setting", "DISABLE_MIKELANGELO_HPC_STACK", "DISABLE_MIKELANGELO_HPCSTACK"])
def test_a_switched_off_stack_changes_nothing(host: FilterHost, how: str) -> None:
    """Not even a script that asks for guests."""
    if how == "setting":
        host.set(disable_mikelangelo_hpc_stack=True)
    done = host.submit(ASKING, "job.sh", **({} if how == "setting" else {how: "true"}))
    assert (done.code, done.script.decode(), done.err) == (0, ASKING, "")


def test_settings_with_a_mistake_concern_jobs_with_guests_only(host: FilterHost) -> None:
    """All others are submitted as ever."""
    (host.etc / "settings.toml").write_text("max_vms = 4\n")
    assert "max_vms" in host.submit(ASKING).refusal
    assert host.submit(lines("-N x"), "-C", "#PBS").script.decode() == lines("-N x")


def test_another_prefix_is_the_one_that_counts(host: FilterHost) -> None:
    """TORQUE puts a backslash before it instead of quotes around it."""
    script = ASKING.replace("#PBS", "#JOB")
    assert host.submit(script, "-C", "#JOB", "job.sh").script.startswith(b"#!/bin/sh\n#JOB -N named\n")
    assert b"-T vm" in host.submit(script, "-C", "#JOB", "job.sh").script
    assert host.submit(script, "job.sh").script.decode() == script
    assert host.submit(ASKING, "-C", "#JOB", "job.sh").script.decode() == ASKING


def test_an_interactive_job_gets_its_options_from_the_script(host: FilterHost) -> None:
    """``qsub -I script`` calls the filter for the script, and again with two empty lines."""
    words = ("-I", "-N", "x", "job.sh")
    assert host.submit(ASKING, *words).options["T"] == "vm"
    assert host.interactive(*words).script == b"\n\n"


@pytest.mark.parametrize("target", ["/dev/full", "&-"])
def test_a_script_that_cannot_be_written_is_not_submitted(host: FilterHost, target: str) -> None:
    """With a full disk qsub would otherwise submit the part that found room."""
    for script in (ASKING, lines("-N x"), lines("-N x") + "# filler\n" * 20000):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{shlex.quote(str(host.filter))} job.sh >{target}"],
            input=script.encode(), cwd=host.work, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        assert done.stderr


def test_a_closed_standard_error_leaves_the_script_alone(host: FilterHost) -> None:
    """What there is to say is not said then; it must not land in the script."""
    expected = host.submit(ASKING, "job.sh")
    assert expected.err
    host.called = f"2>&- {host.called}"
    assert host.submit(ASKING, "job.sh").script == expected.script


SITE = """#!/bin/sh
# "$0" "$@"
for word; do echo "$word"; done >{args}
sed 's/echo hello/echo changed/'
echo "the site says hello" >&2
exit {code}
"""


@pytest.mark.proves("site_submit_filter")
@pytest.mark.parametrize("script", [ASKING, lines("-N x"), "\n\n"])
def test_the_sites_own_filter_runs_first(host: FilterHost, script: str) -> None:
    """With the same words; its output is what ours reads, its sentences reach the user."""
    args = host.folder / "args"
    host.set(site_submit_filter=host.program("site", SITE.format(args=args, code=0)))
    done = host.submit(script, "-N", "a  b", "job.sh")
    assert args.read_text() == "-N\na  b\njob.sh\n"
    assert done.err.startswith("the site says hello\n")
    assert done.script.endswith(b"echo changed\n" if "hello" in script else b"\n\n")
    assert (done.options.get("T") == "vm") == (script == ASKING)


def test_what_the_sites_filter_asks_for_is_what_counts(host: FilterHost) -> None:
    """It may ask for guests itself."""
    text = "#!/bin/sh\ncat >/dev/null; echo '#PBS -vm ram=192M'; echo 'echo hello'\n"
    host.set(site_submit_filter=host.program("site", text))
    assert host.submit(lines("-N x")).options["T"] == "vm"


@pytest.mark.parametrize("code", [1, 2, 255])
def test_a_refusal_of_the_site_is_passed_on(host: FilterHost, code: int) -> None:
    """To qsub 255 is an administrator's refusal, which it reports as such."""
    host.set(site_submit_filter=host.program("site", SITE.format(args="/dev/null", code=code)))
    done = host.submit(ASKING, "job.sh")
    assert (done.code, done.script, done.err) == (code, b"", "the site says hello\n")


def test_a_filter_of_the_site_need_not_read_nor_name_a_shell(host: FilterHost) -> None:
    """TORQUE has a shell call it, and a shell takes a text for a script."""
    host.set(site_submit_filter=host.program("site", "echo '# theirs'\n"))
    assert host.submit(lines("-N x") * 20000).script == b"# theirs\n"


@pytest.mark.parametrize(
    ("text", "mode", "sentence"),
    [
        ("#!/bin/sh\n", 0o644, "cannot be run: Permission denied"),
        ("#!/nonexistent\n", 0o755, "cannot be run: No such file or directory"),
        ("#!/bin/sh\nkill -9 $$\n", 0o755, "was ended by signal 9"),
        ("# nornir_torque_vm.wrapper.submit_filter\n", 0o755, "is this submit filter itself"),
    ],
)
def test_a_filter_of_the_site_that_fails_stops_the_submission(
    host: FilterHost, text: str, mode: int, sentence: str
) -> None:
    """Its rules must not be left out; a second one of ours would call itself for ever."""
    site = host.program("site", text, mode)
    host.set(site_submit_filter=site)
    refusal = host.submit(lines("-N x")).refusal
    assert site in refusal
    assert sentence in refusal


def test_a_mistake_in_the_settings_does_not_switch_the_sites_filter_off(host: FilterHost) -> None:
    """The one that was compiled last still runs."""
    host.set(site_submit_filter=host.program("site", SITE.format(args="/dev/null", code=255)))
    (host.etc / "settings.toml").write_text("max_vms = 4\n")
    assert host.submit(lines("-N x")).code == 255


ODD = "A=it's"


@pytest.mark.parametrize("filter_path", ["/bin/cat", ""])
def test_torque_itself_refuses_a_word_with_one_quote_when_there_is_any_filter(
    host: FilterHost, filter_path: str
) -> None:
    """Its shell ends before the filter starts: with ours neither better nor worse."""
    host.called = filter_path or host.called
    done = host.submit(lines("-N x"), "-v", ODD, "job.sh")
    assert (done.code, done.script) == (2, b"")
    assert "torque-vm" not in done.err


def test_our_own_words_need_no_quotes(host: FilterHost) -> None:
    """A value with a quote in ``-vm`` reaches the filter in another form, so its call holds."""
    for name in ("it's.sh", 'say "hi".sh'):
        host.script("exit 0\n", name)
    host.script(lines("-N x"))
    wrapped = host.run("-vm", 'vm_prologue=it\'s.sh,vm_epilogue=say "hi".sh', "job.sh").qsub
    assert not {"'", '"', "$", "`", "\\"} & set("".join(wrapped.words))
    for done in (host.submit(lines("-N x"), *wrapped.words), host.interactive(*wrapped.words)):
        assert (done.code, done.err) == (0, "")


def test_the_words_are_taken_from_qsub_itself_where_it_is_found(tmp_path: Path) -> None:
    """Between quotes for a shell ``'a b'`` becomes two words, and ``-C ''`` swallows the next one."""
    qsub = tmp_path / "qsub"
    shutil.copy(Path("/bin/sh").resolve(), qsub)
    code = "from nornir_torque_vm.wrapper.submit_filter import qsub_words; print(qsub_words(['as called']))"
    inner = shlex.join([sys.executable, "-c", code])
    words = ["-v", "A='x y'", "-C", "", "z\n"]
    deeper = f"sh -c {shlex.quote(f'{inner}; true')}; true"
    for command in (f"{inner}; true", deeper, f"sh -c {shlex.quote(deeper)}; true"):
        done = subprocess.run([qsub, "-c", command, *words], capture_output=True, text=True, check=True)
        assert done.stdout == f"{['-c', command, *words]}\n"
    done = subprocess.run(["/bin/sh", "-c", inner], capture_output=True, text=True, check=True)
    assert done.stdout == "['as called']\n"
