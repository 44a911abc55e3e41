/* The executables for newer processors, as read-only data that is never touched but to start them. */
        .section .rodata.levels, "a"
        .balign 4096
        .globl lftool_v3, lftool_v3_end, lftool_v4, lftool_v4_end
lftool_v3:
        .incbin "v3"
lftool_v3_end:
        .balign 4096
lftool_v4:
        .incbin "v4"
lftool_v4_end:
        .byte 0
        .section .note.GNU-stack, "", @progbits
