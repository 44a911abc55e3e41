/* The licences of all that is compiled in: `--licenses` prints them. */
        .section .rodata.licenses, "a"
        .globl lftool_licenses, lftool_licenses_end
lftool_licenses:
        .incbin "licenses.txt"
lftool_licenses_end:
        .byte 0
        .section .note.GNU-stack, "", @progbits
