// Text of a model on standard output.
#pragma once

#include <string>

namespace lftool {

// Standard output: as it is where that is a file or a pipe. On a terminal, lines break between words, and nothing steers:
// control characters but tab and line break, and what turns the direction of text, are spelt out. The runner's `shown` and
// `Wrapped` say the same in Python.
class Screen {
  public:
    // Pieces may end within a letter or a word, which then waits for the next piece.
    void put(const std::string & piece);

    // Writes what waits, and ends the line.
    void end();

  private:
    void letter(const std::string & letter);
    void end_word();
    void write(const std::string & text);

    std::string held_;         // the beginning of a letter
    std::string word_;
    size_t      word_width_ = 0;
    size_t      column_     = 0;
};

// Whether standard output is a terminal.
bool on_terminal();

// How many columns the terminal has, but one.
size_t columns();

// Tells the user something that is not the model's, on standard error.
void note(const std::string & text);

}  // namespace lftool
