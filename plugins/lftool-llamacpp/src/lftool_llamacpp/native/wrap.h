// `ld --wrap=SYMBOL` puts functions of ours in place of llama.cpp's: calls of SYMBOL go to `__wrap_SYMBOL`, and `__real_SYMBOL`
// is the one that was there. Both are declared here, by the symbol or by a macro that stands for it. native_runtime.py has the
// list, and checks with nm that each symbol is still called.
#pragma once

#define LFTOOL_TEXT_OF(symbol) #symbol
#define LFTOOL_TEXT(symbol)    LFTOOL_TEXT_OF(symbol)
#define LFTOOL_OURS(symbol)    __asm__("__wrap_" LFTOOL_TEXT(symbol))
#define LFTOOL_THEIRS(symbol)  __asm__("__real_" LFTOOL_TEXT(symbol))
