/* The licences of all that is compiled in: `--licenses` prints them. An executable that another carries is never asked. */
        .section .rodata.licenses, "a"
        .globl lftool_licenses, lftool_licenses_end
lftool_licenses:
#ifndef LFTOOL_CARRIED
        .incbin "licenses.txt"
#endif
lftool_licenses_end:
        .byte 0
        .section .note.GNU-stack, "", @progbits
