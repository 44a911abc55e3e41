#include "screen.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>

#include <sys/ioctl.h>
#include <unistd.h>

#include "problem.h"

namespace lftool {

namespace {

constexpr size_t NARROWEST = 20;

// Returns the code point of a letter of UTF-8; of a byte that begins none, the byte.
unsigned code_of(const std::string & letter) {
    unsigned code = static_cast<unsigned char>(letter[0]);
    if (letter.size() > 1) {
        code &= 0xFFu >> (letter.size() + 1);
        for (size_t i = 1; i < letter.size(); i++) {
            code = code << 6 | (static_cast<unsigned char>(letter[i]) & 0x3F);
        }
    }
    return code;
}

// Returns a letter as a terminal may have it.
std::string spelt(const std::string & letter) {
    const unsigned code = code_of(letter);
    if (letter.size() == 1 && code >= 0x80) {
        return letter;  // no letter of UTF-8
    }
    const bool control = (code < 32 && code != '\t' && code != '\n') || (code >= 127 && code < 160);
    const bool turning = code == 0x61C || code == 0x200E || code == 0x200F || (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
    if (!control && !turning) {
        return letter;
    }
    char text[8];
    snprintf(text, sizeof text, code < 256 ? "\\x%02x" : "\\u%04x", code);
    return text;
}

// Returns how many columns a letter takes: two of East Asian scripts and pictures, none of marks (Unicode, UAX 11).
size_t width_of(unsigned code) {
    if ((code >= 0x300 && code <= 0x36F) || (code >= 0xFE00 && code <= 0xFE0F) || code == 0x200D) {
        return 0;
    }
    const bool wide = (code >= 0x1100 && code <= 0x115F) || (code >= 0x2E80 && code <= 0xA4CF) || (code >= 0xAC00 && code <= 0xD7A3) ||
                      (code >= 0xF900 && code <= 0xFAFF) || (code >= 0xFE30 && code <= 0xFE6F) || (code >= 0xFF00 && code <= 0xFF60) ||
                      (code >= 0xFFE0 && code <= 0xFFE6) || (code >= 0x1F300 && code <= 0x1FAFF) || (code >= 0x20000 && code <= 0x3FFFD);
    return wide ? 2 : 1;
}

// Returns how many bytes the letter has that begins with this one.
size_t size_of(unsigned char first) {
    return first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

// Returns a text of one line with line breaks between its words.
std::string broken(std::string text) {
    const std::string indent = "\n  ";
    size_t            begin = 0, width = columns();
    while (text.size() - begin > width) {
        size_t space = text.rfind(' ', begin + width);
        if (space == std::string::npos || space <= begin) {
            space = text.find(' ', begin + width);  // a word that is longer than a line
        }
        if (space == std::string::npos) {
            break;
        }
        text.replace(space, 1, indent);
        begin = space + indent.size();
        width = columns() - (indent.size() - 1);
    }
    return text;
}

}  // namespace

bool on_terminal() {
    static const bool terminal = isatty(STDOUT_FILENO) != 0;
    return terminal;
}

size_t columns() {
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col <= NARROWEST) {
        return 79;
    }
    return size.ws_col - 1u;
}

void note(const std::string & text) {
    static const char * const terminal = getenv("TERM");
    static const char * const plain    = getenv("NO_COLOR");
    const bool                shown    = isatty(STDERR_FILENO) != 0;
    const bool                coloured = (plain == nullptr || *plain == '\0') && (terminal == nullptr || strcmp(terminal, "dumb") != 0);
    const bool                dim      = shown && coloured;
    std::cerr << (dim ? "\033[2m" : "") << (shown ? broken(text) : text) << (dim ? "\033[0m" : "") << std::endl;
}

void Screen::put(const std::string & piece) {
    if (!on_terminal()) {
        write(piece);
        return;
    }
    held_ += piece;
    size_t at = 0;
    while (at < held_.size()) {
        const size_t size = size_of(static_cast<unsigned char>(held_[at]));
        if (at + size > held_.size()) {
            break;
        }
        letter(held_.substr(at, size));
        at += size;
    }
    held_.erase(0, at);
    if (!(std::cout << std::flush)) {
        throw Problem(1, "standard output cannot be written");
    }
}

void Screen::letter(const std::string & letter) {
    if (letter == "\n") {
        end_word();
        write("\n");
        column_ = 0;
        return;
    }
    if (letter == " ") {
        end_word();
        if (column_ < columns()) {
            write(" ");
            column_++;
        }
        return;
    }
    const std::string shown = spelt(letter);
    const size_t      width = shown.size() > letter.size() ? shown.size() : width_of(code_of(letter));
    word_ += shown;
    word_width_ += width;
    if (width == 2 || word_width_ >= columns()) {
        end_word();  // a script without spaces, or a word longer than a line
    }
}

void Screen::end_word() {
    if (column_ > 0 && column_ + word_width_ > columns()) {
        write("\n");
        column_ = 0;
    }
    write(word_);
    column_ += word_width_;
    word_.clear();
    word_width_ = 0;
}

void Screen::end() {
    write(held_);
    held_.clear();
    end_word();
    write("\n");
    column_ = 0;
}

void Screen::write(const std::string & text) {
    if (!(std::cout << text << std::flush)) {
        throw Problem(1, "standard output cannot be written");
    }
}

}  // namespace lftool
