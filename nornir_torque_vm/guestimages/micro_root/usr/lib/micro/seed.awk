# Reads the NoCloud files named on the command line (meta-data, user-data, network-config; each
# one JSON document, user-data after a "#cloud-config" line) and prints the shell script that does
# what they ask for, in the order cloud-init would. Every value reaches that script through q(),
# so nothing in a seed can be taken for shell text. The functions it calls are in functions.sh.
#
# A document that is not JSON prints one "fail" line and nothing else of that document.

# --- reading JSON: text -> tok[1..ntok], then value() fills kind[], val[] and size[] by path ---

function broken(why) { if (problem == "") problem = why }

# Splitting at the quotes is linear in the text and leaves strings in the odd gaps: a piece that
# ends in an odd number of backslashes means that its quote was escaped.
function tokens(text,    n, i, piece, tail) {
    ntok = 0
    split("", tok)
    n = split(text, piece, "\"")
    for (i = 1; i <= n; i++) {
        punctuation(piece[i])
        if (++i > n) return
        tail = piece[i]
        while (escaped(piece[i]) && i < n) { i++; tail = tail "\"" piece[i] }
        if (i >= n) { broken("a string has no end"); return }
        tok[++ntok] = "s" unescape(tail)
    }
}

function escaped(text,    n) {
    n = length(text)
    while (n > 0 && substr(text, n, 1) == "\\") n--
    return (length(text) - n) % 2
}

function punctuation(text) {
    for (;;) {
        sub(/^[ \t\r\n]+/, "", text)
        if (text == "") return
        if (match(text, /^[{}:,]/) || match(text, /^\[/) || match(text, /^\]/)) {
            tok[++ntok] = substr(text, 1, RLENGTH)
        } else if (match(text, /^(true|false|null|-?[0-9][0-9.eE+-]*)/)) {
            tok[++ntok] = "v" substr(text, 1, RLENGTH)
        } else { broken("unexpected text: " substr(text, 1, 20)); return }
        text = substr(text, RLENGTH + 1)
    }
}

function hex(text,    i, d, n) {
    for (i = 1; i <= 4; i++) {
        d = index("0123456789abcdef", tolower(substr(text, i, 1)))
        if (d == 0 || length(text) < 4) { broken("bad \\u escape"); return 63 }
        n = n * 16 + d - 1
    }
    return n
}

function utf8(n) {
    if (n == 0) { broken("a NUL character cannot be used"); return "" }
    if (n < 128) return sprintf("%c", n)
    if (n < 2048) return sprintf("%c%c", 192 + int(n / 64), 128 + n % 64)
    if (n < 65536) return sprintf("%c%c%c", 224 + int(n / 4096), 128 + int(n / 64) % 64, 128 + n % 64)
    return sprintf("%c%c%c%c", 240 + int(n / 262144), 128 + int(n / 4096) % 64, 128 + int(n / 64) % 64,
                   128 + n % 64)
}

function unescape(text,    n, i, part, out, code, high) {
    if (index(text, "\\") == 0) return text
    n = split(text, part, "\\")
    out = part[1]
    for (i = 2; i <= n; i++) {
        if (part[i] == "") { i++; out = out "\\" part[i]; continue }
        code = substr(part[i], 1, 1)
        if (code == "u") {
            code = hex(substr(part[i], 2))
            if (code >= 55296 && code < 56320 && part[i + 1] ~ /^u[dD][c-fC-F]/) {
                high = (code - 55296) * 1024
                i++
                code = 65536 + high + hex(substr(part[i], 2)) - 56320
            }
            out = out utf8(code) substr(part[i], 6)
        } else if (code in escape) { out = out escape[code] substr(part[i], 2) }
        else { broken("unknown escape \\" code); return out }
    }
    return out
}

# One value at tok[at]; its children get path SUBSEP key (or number from 0).
function value(path,    t, n, key) {
    t = tok[at++]
    if (t == "{") {
        kind[path] = "object"
        if (tok[at] == "}") { at++; return }
        do {
            key = tok[at++]
            if (substr(key, 1, 1) != "s" || tok[at++] != ":") { broken("a key is missing"); return }
            name[path, n++] = substr(key, 2); size[path] = n
            value(path SUBSEP substr(key, 2))
            t = tok[at++]
        } while (t == "," && problem == "")
        if (t != "}") broken("a } is missing")
    } else if (t == "[") {
        kind[path] = "array"
        if (tok[at] == "]") { at++; return }
        do {
            value(path SUBSEP n + 0); size[path] = ++n
            t = tok[at++]
        } while (t == "," && problem == "")
        if (t != "]") broken("a ] is missing")
    } else if (t ~ /^[sv]/) {
        kind[path] = substr(t, 1, 1) == "s" ? "string" : "literal"
        val[path] = substr(t, 2)
    } else broken("a value is missing")
}

function read(file, root,    line, text, rc) {
    problem = ""
    while ((rc = (getline line < file)) > 0) text = text line "\n"
    close(file)
    if (rc < 0) return 0
    if (root == "user" && text !~ /^#cloud-config[ \t\r]*\n/) broken("does not begin with #cloud-config")
    sub(/^#[^\n]*\n/, "", text)
    if (problem == "") tokens(text)
    at = 1
    if (problem == "") value(root)
    if (problem == "" && at <= ntok) broken("text follows the document")
    if (problem == "" && kind[root] != "object") broken("is not an object")
    if (problem == "") return 1
    print "fail " q(root " data cannot be read: " problem)
    for (line in kind) if (index(line, root) == 1) { delete kind[line]; delete val[line]; delete size[line] }
    return 0
}

# --- writing shell ---

function q(text) { gsub(/'/, "'\\''", text); return "'" text "'" }

function get(path) { return (path in val) ? val[path] : "" }

# The elements of the list at path as one word each; a plain string is a list of one.
function words(path,    i, out) {
    if (kind[path] == "string") return " " q(val[path])
    for (i = 0; i < size[path]; i++) out = out " " q(get(path SUBSEP i))
    return out
}

function joined(path, glue,    i, out) {
    if (kind[path] == "string") return val[path]
    for (i = 0; i < size[path]; i++) out = out (i ? glue : "") get(path SUBSEP i)
    return out
}

function commands(path,    i, item) {
    for (i = 0; i < size[path]; i++) {
        item = path SUBSEP i
        if (kind[item] == "array") print "run_command" words(item)
        else print "run_command sh -c " q(get(item))
    }
}

function files(deferred,    i, f) {
    for (i = 0; i < size["user" SUBSEP "write_files"]; i++) {
        f = "user" SUBSEP "write_files" SUBSEP i SUBSEP
        if ((get(f "defer") == "true") == deferred)
            print "write_file", q(get(f "path")), q(get(f "permissions")), q(get(f "owner")), \
                  q(get(f "encoding")), q(get(f "content"))
    }
}

function users(    i, u) {
    for (i = 0; i < size["user" SUBSEP "users"]; i++) {
        if (kind["user" SUBSEP "users" SUBSEP i] != "object") continue
        u = "user" SUBSEP "users" SUBSEP i SUBSEP
        print "user", q(get(u "name")), q(get(u "uid")), q(get(u "primary_group")), q(get(u "shell")), \
              q(get(u "homedir")), q(joined(u "groups", ",")), q(joined(u "ssh_authorized_keys", "\n"))
    }
}

function networks(root,    i, n, r, gateway, list) {
    if ((root SUBSEP "network") in kind) root = root SUBSEP "network"
    list = root SUBSEP "ethernets"
    for (i = 0; i < size[list]; i++) {
        n = list SUBSEP name[list, i] SUBSEP
        gateway = get(n "gateway4")
        for (r = 0; r < size[n "routes"]; r++)
            if (get(n "routes" SUBSEP r SUBSEP "to") ~ /^(default|0\.0\.0\.0\/0)$/)
                gateway = get(n "routes" SUBSEP r SUBSEP "via")
        print "network", q(name[list, i]), q(tolower(get(n "match" SUBSEP "macaddress"))), \
              q(get(n "dhcp4")), q(joined(n "addresses", " ")), q(gateway), \
              q(joined(n "nameservers" SUBSEP "addresses", " ")), \
              q(joined(n "nameservers" SUBSEP "search", " ")), q(get(n "set-name"))
    }
    return size[list]
}

function unknown(    i) {
    for (i = 0; i < size["user"]; i++)
        if (index(" " known " ", " " name["user", i] " ") == 0)
            print "note " q("user-data key " name["user", i] " has no meaning in this guest")
}

BEGIN {
    escape["\""] = "\""; escape["/"] = "/"; escape["b"] = "\b"; escape["f"] = "\f"
    escape["n"] = "\n"; escape["r"] = "\r"; escape["t"] = "\t"
    known = "hostname fqdn preserve_hostname users disable_root ssh_pwauth ssh_deletekeys ssh_genkeytypes" \
        " ssh_keys write_files bootcmd runcmd package_update package_upgrade"
    if (!read(ARGV[1] "/meta-data", "meta")) print "fail 'the seed has no usable meta-data'"
    if (!read(ARGV[1] "/user-data", "user")) print "fail 'the seed has no usable user-data'"
    host = get("user" SUBSEP "hostname")
    print "host_name", q(host != "" ? host : get("meta" SUBSEP "local-hostname")), q(get("user" SUBSEP "fqdn"))
    if (!read(ARGV[1] "/network-config", "network") || !networks("network"))
        print "network eth0 '' true '' '' '' '' ''"
    unknown()
    print "instance " q(get("meta" SUBSEP "instance-id"))
    print "host_key", q(get("user" SUBSEP "ssh_keys" SUBSEP "ed25519_private")), \
          q(get("user" SUBSEP "ssh_keys" SUBSEP "ed25519_public"))
    files(0)
    print "network_wait"
    commands("user" SUBSEP "bootcmd")
    users()
    files(1)
    commands("user" SUBSEP "runcmd")
}
