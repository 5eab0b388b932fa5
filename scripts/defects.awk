# SPDX-License-Identifier: MIT OR Apache-2.0
#
# defects.awk LOG-OF-C LOG-OF-OURS TABLE: both results of each test, then what no test shows.
# Exit code 1 if ours fails a test or the C driver passes one.

function defect(name) { return "A-" substr(name, 2, 2) }

# "a01_open_without_a_peer" is the title too.
function title(name) {
    name = substr(name, 5)
    gsub(/_s_/, "'s_", name)
    gsub(/_/, " ", name)
    return name
}

FNR == 1 { file++ }

file <= 2 && /^test a[0-9][0-9]_.* \.\.\. / {
    verdict[file, $2] = $NF
    if (!($2 in seen)) {
        seen[$2] = 1
        names[++count] = $2
    }
}

# What a failing test says, from the block that the runner prints for it; or its kernels.
file <= 2 && /^---- a[0-9][0-9]_.* stdout ----$/ { block = $2 }
file <= 2 && /^Error: / && block != "" {
    if (!((file, block) in said)) said[file, block] = substr($0, 8)
    block = ""
}

file <= 2 && block != "" && /(BUG|WARNING): / && !((file, block) in logged) {
    logged[file, block] = $0
    sub(/^.*\] /, "", logged[file, block])
}

file == 3 && !/^#/ && NF {
    split($0, field, "\t")
    listed[++rows] = $0
}

END {
    if (!count) {
        print "no test has run"
        exit 1
    }
    for (i = 2; i <= count; i++) {
        for (j = i; j > 1 && names[j - 1] > names[j]; j--) {
            swap = names[j]; names[j] = names[j - 1]; names[j - 1] = swap
        }
    }
    line = "%-6s %-68s %-9s %s\n"
    printf line, "defect", "what", "C driver", "ours"
    for (i = 1; i <= count; i++) {
        name = names[i]
        c = verdict[1, name] == "FAILED" ? "fails" : verdict[1, name] == "ok" ? "PASSES" : "NOT RUN"
        o = verdict[2, name] == "ok" ? "passes" : verdict[2, name] == "FAILED" ? "FAILS" : "NOT RUN"
        if (c != "fails" || o != "passes") wrong++
        printf line, defect(name), title(name), c, o
    }
    print ""
    print "not shown by a test here:"
    for (i = 1; i <= rows; i++) {
        split(listed[i], field, "\t")
        printf "%-6s %-68s %s\n", field[1], field[3], field[2]
    }
    print ""
    print "how the C driver fails:"
    for (i = 1; i <= count; i++) {
        name = names[i]
        if (verdict[1, name] == "FAILED") {
            why = (1, name) in said ? said[1, name] : (1, name) in logged ? logged[1, name] : "(see the log)"
            printf "%-6s %.150s\n", defect(name), why
        }
    }
    print ""
    printf "%d tests, %d not as they should be\n", count, wrong
    exit wrong > 0
}
