// A conversation in the terminal. The runner's `Chat` is the same in Python.
#include "chatting.h"

#include <cerrno>
#include <clocale>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "console.h"
#include "files.h"
#include "screen.h"

namespace lftool {

namespace {

const char * const BLOCK           = "\"\"\"";
constexpr int      PASTE_GAP       = 30;  // milliseconds within which the lines of a paste follow one another
constexpr size_t   MOST_SAVED      = 16 << 20;
constexpr mode_t   FOR_ME_ALONE    = 0600;

const std::pair<const char *, const char *> COMMANDS[] = {
    { "/help", "this list" },
    { "/system", "[TEXT] show or set the system prompt" },
    { "/clear", "forget the conversation" },
    { "/save", "NAME write the conversation" },
    { "/load", "NAME go on with a conversation that was saved" },
    { "/regenerate", "answer the last question again" },
    { "/stats", "switch figures after each answer on or off" },
    { "/bye", "leave, as Ctrl-D does" },
};

// While an answer comes, what is typed waits unseen.
class Unseen {
  public:
    Unseen() : known_(tcgetattr(STDIN_FILENO, &before_) == 0) {
        if (known_) {
            struct termios silent = before_;
            silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
            tcsetattr(STDIN_FILENO, TCSANOW, &silent);
        }
    }
    ~Unseen() {
        if (known_) {
            tcsetattr(STDIN_FILENO, TCSANOW, &before_);
        }
    }
    Unseen(const Unseen &)             = delete;
    Unseen & operator=(const Unseen &) = delete;

  private:
    struct termios before_;
    bool           known_;
};

std::string number(double value, int digits) {
    char text[32];
    snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

// Reads lines with llama.cpp's editor: history, and keys that move.
class Lines {
  public:
    Lines() : editor_(on_terminal() && !plain_terminal()) {
        setvbuf(stdin, nullptr, _IONBF, 0);  // so that `more` sees what is there
        if (editor_) {
            console::init(false, false);
            setlocale(LC_NUMERIC, "C");
        }
    }
    ~Lines() {
        if (editor_) {
            console::cleanup();
        }
    }
    Lines(const Lines &)             = delete;
    Lines & operator=(const Lines &) = delete;

    // Returns false at the end of the input, or when Ctrl-C was pressed.
    bool read(const char * prompt, std::string & line) {
        line.clear();
        std::cout << prompt << std::flush;
        const bool read = editor_ ? edited(line) : static_cast<bool>(std::getline(std::cin, line));
        while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) {
            line.pop_back();
        }
        return read;
    }

    // Whether more has been typed, or pasted, already.
    static bool more() {
        struct pollfd waiting = { STDIN_FILENO, POLLIN, 0 };
        return poll(&waiting, 1, PASTE_GAP) > 0 && (waiting.revents & POLLIN) != 0;
    }

  private:
    static bool plain_terminal() {
        const char * name = getenv("TERM");
        return name == nullptr || std::string(name) == "dumb";
    }

    // A line that was read ends with a line break; at the end of the input, or interrupted, it does not.
    static bool edited(std::string & line) {
        console::readline(line, false);
        const bool read = !line.empty() && line.back() == '\n';
        if (!read) {
            clearerr(stdin);
        }
        return read;
    }

    bool editor_;
};

class Talk {
  public:
    Talk(Conversation & conversation, bool stats) : conversation_(conversation), stats_(stats) {}

    int run() {
        note("Ctrl-C stops an answer, Ctrl-D ends the conversation, /help lists commands.");
        if (conversation_.without_template()) {
            note("This model has no chat template: it continues the text as it is.");
        }
        bool        idle = false;  // whether Ctrl-C came last
        std::string text;
        while (true) {
            heed_interrupts();
            if (!message(text)) {
                if (!interrupted() || idle) {
                    std::cout << std::endl;
                    return interrupted() ? 130 : 0;
                }
                idle = true;
                std::cout << std::endl;
                std::cin.clear();
                note("Ctrl-C once more, or Ctrl-D, ends the conversation.");
                continue;
            }
            idle = false;
            if (!heard(text)) {
                return 0;
            }
        }
    }

  private:
    // Reads a line, what is pasted at once, or lines between triple quotes.
    bool message(std::string & text) {
        std::string line;
        if (!lines_.read("> ", text)) {
            return false;
        }
        const bool block = text.rfind(BLOCK, 0) == 0;
        while (block ? text.find(BLOCK, 3) == std::string::npos : !text.empty() && text[0] != '/' && on_terminal() && Lines::more()) {
            if (!lines_.read(block ? ". " : "", line)) {
                break;
            }
            text += "\n" + line;
        }
        for (size_t at = text.find(BLOCK); block && at != std::string::npos; at = text.find(BLOCK)) {
            text.erase(at, 3);
        }
        return true;
    }

    // Obeys a command, or asks; false when the conversation is to end.
    bool heard(const std::string & text) {
        const size_t      space   = text.find_first_of(" \t\n");
        const std::string command = text.substr(0, space);
        std::string       rest    = space == std::string::npos ? "" : text.substr(text.find_first_not_of(" \t\n", space) == std::string::npos ? text.size() : text.find_first_not_of(" \t\n", space));
        const bool        slash   = command.size() > 1 && command[0] == '/' && command.find_first_not_of("abcdefghijklmnopqrstuvwxyz", 1) == std::string::npos;
        if (!slash) {
            if (text.find_first_not_of(" \t\r\n") != std::string::npos) {
                ask(text);
            }
            return true;
        }
        if (command == "/bye") {
            return false;
        }
        if (command == "/help") {
            for (const auto & [name, what] : COMMANDS) {
                note("  " + std::string(name) + std::string(13 - std::string(name).size(), ' ') + what);
            }
            note("  \"\"\"          begins and ends a message of several lines");
        } else if (command == "/clear") {
            conversation_.turns.clear();
        } else if (command == "/stats") {
            stats_ = !stats_;
            note(std::string("figures after each answer: ") + (stats_ ? "on" : "off"));
        } else if (command == "/system") {
            if (!rest.empty()) {
                conversation_.system = rest;
            }
            note("system prompt: " + (conversation_.system.empty() ? std::string("none") : conversation_.system));
        } else if (command == "/regenerate") {
            if (conversation_.turns.empty()) {
                note("There is no question yet.");
            } else {
                const std::string question = conversation_.turns.back().first;
                conversation_.turns.pop_back();
                conversation_.draw_again();
                ask(question);
            }
        } else if (command == "/save" || command == "/load") {
            try {
                command == "/save" ? save(rest) : load(rest);
            } catch (const Problem & problem) {
                note(problem.what());
            }
        } else {
            note("There is no command " + command + "; /help lists them.");
        }
        return true;
    }

    void ask(const std::string & question) {
        heed_interrupts();
        const std::string room = std::to_string(conversation_.room());
        const auto        forgot = [&](size_t count) {
            const std::string turns = count == 1 ? "the oldest turn is" : "the oldest " + std::to_string(count) + " turns are";
            note("(the context of " + room + " tokens is full: " + turns + " forgotten)");
        };
        Answer answer;
        {
            const Unseen unseen;
            answer = conversation_.answer(question, forgot);
        }
        switch (answer.end) {
            case End::WHOLE: break;
            case End::STOPPED: note("(stopped)"); break;
            case End::MOST_TOKENS: note("(cut off: --max-tokens " + std::to_string(conversation_.most_tokens()) + ")"); break;
            case End::CONTEXT_FULL: note("(cut off: the context of " + room + " tokens is full)"); break;
            case End::NO_ROOM: note("the question has " + std::to_string(answer.tokens) + " tokens, and the context " + room); return;
        }
        if (stats_ && answer.tokens > 0) {
            const std::string rate = answer.seconds > 0 ? " (" + number(static_cast<double>(answer.tokens) / answer.seconds, 1) + " tokens/s)" : "";
            note(std::to_string(answer.tokens) + " tokens in " + number(answer.seconds, 1) + " s" + rate + ", first token after " + number(answer.first, 2) + " s");
        }
    }

    // `lftool run` confines this process, and names the folder that it may write to.
    static std::string saved(const std::string & name) {
        const char * folder = getenv("LFTOOL_CHATS");
        if (name.empty()) {
            throw Problem(2, "give the name of a file");
        }
        if (folder == nullptr || *folder == '\0') {
            return name;
        }
        if (name.find('/') != std::string::npos || name[0] == '.') {
            throw Problem(2, std::string("conversations are kept in ") + folder + ": give a name, not a path");
        }
        return std::string(folder) + "/" + name;
    }

    void save(const std::string & name) const {
        const std::string path = saved(name);
        nlohmann::json    turns = nlohmann::json::array();
        for (const auto & [asked, said] : conversation_.turns) {
            turns.push_back({ asked, said });
        }
        const std::string text = nlohmann::json{ { "lftool-chat", 1 }, { "system", conversation_.system }, { "turns", turns } }.dump(
                                     1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
        Descriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, FOR_ME_ALONE));
        if (!file || write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
            throw Problem(1, path + " cannot be written: " + strerror(errno));
        }
        note("saved in " + path);
    }

    void load(const std::string & name) {
        const std::string path = saved(name);
        std::ifstream     file(path);
        std::string       text(MOST_SAVED, '\0');
        file.read(&text[0], static_cast<std::streamsize>(text.size()));
        text.resize(static_cast<size_t>(file.gcount()));
        if (text.empty()) {
            throw Problem(1, path + " cannot be read: " + strerror(errno));
        }
        try {
            const nlohmann::json found = nlohmann::json::parse(text);
            const auto           turns = found.at("turns").get<std::vector<std::pair<std::string, std::string>>>();
            conversation_.system       = found.at("system").get<std::string>();
            conversation_.turns        = turns;
        } catch (const nlohmann::json::exception &) {
            throw Problem(4, path + " is no conversation that /save wrote");
        }
        note(std::to_string(conversation_.turns.size()) + " turns of " + path);
    }

    Conversation & conversation_;
    bool           stats_;
    Lines          lines_;
};

}  // namespace

int chat(Conversation & conversation, bool stats) {
    return Talk(conversation, stats).run();
}

}  // namespace lftool
