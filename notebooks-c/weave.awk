# SPDX-License-Identifier: GPL-3.0-or-later
# Markdown from a notebook and what it printed: awk -f weave.awk OUTPUT SOURCE.
# In OUTPUT a line RS (octal 036) and a number begins what the cell with that source line printed; a
# line that begins with US (octal 037) is Markdown already.
FNR == NR {
    if (/^\036/) { at = substr($0, 2) + 0; next }
    text[at] = text[at] $0 "\n"
    next
}

function fence() { if (open) print "```"; open = 0 }

function output(first, last,    l, i, n, lines, raw) {
    for (l = first; l <= last; l++) {
        if (!(l in text)) continue
        n = split(text[l], lines, "\n")
        for (i = 1; i < n; i++) {
            raw = lines[i] ~ /^\037/
            if (raw) {
                fence()
                print (was_raw && lines[i] ~ /^\037\|/ ? "" : "\n") substr(lines[i], 2) > "/dev/stdout"
            } else {
                if (!open) { print "\n```text"; open = 1 }
                print lines[i]
            }
            was_raw = raw
        }
        fence()
        was_raw = 0
    }
}

function flush_code(    i, first, last) {
    if (cell != "code") return
    first = 1; last = count
    while (first <= last && code[first] == "") first++
    while (last >= first && code[last] == "") last--
    if (first <= last) {
        print "\n```c"
        for (i = first; i <= last; i++) print code[i]
        print "```"
        output(begin, FNR - 1)
    }
    count = 0
}

/^\/\/ %%/ {
    flush_code()
    cell = /\[markdown\]/ ? "text" : "code"
    begin = FNR
    if (cell == "text") print ""
    next
}
cell == "text" { sub(/^\/\/ ?/, ""); print; next }
cell == "code" { code[++count] = $0 }
END { FNR++; flush_code() }
