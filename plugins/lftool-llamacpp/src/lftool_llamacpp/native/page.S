/* The chat page, which the Python server reads from the same files. */
        .section .rodata.page, "a"
        .globl lftool_page_html, lftool_page_html_end, lftool_page_css, lftool_page_css_end, lftool_page_js, lftool_page_js_end
lftool_page_html:
        .incbin "page/index.html"
lftool_page_html_end:
lftool_page_css:
        .incbin "page/chat.css"
lftool_page_css_end:
lftool_page_js:
        .incbin "page/chat.js"
lftool_page_js_end:
        .byte 0
        .section .note.GNU-stack, "", @progbits
