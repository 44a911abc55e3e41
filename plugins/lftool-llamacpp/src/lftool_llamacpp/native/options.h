// What the command line of a bundle says.
#pragma once

#include <string>
#include <vector>

#include "bundle.h"

namespace lftool {

struct Options {
    std::string              prompt;
    bool                     has_prompt = false;
    bool                     stats      = false;
    int                      think      = -1;      // 1: the model is to think first, 0: it is not
    nlohmann::json           contract   = nlohmann::json::object();  // what takes the place of the run contract
    bool                     raw        = false;
    bool                     verify     = false;
    bool                     version    = false;
    bool                     help       = false;
    bool                     licenses   = false;
    std::string              healthy;        // port of the server to ask
    bool                     server     = false;
    bool                     insecure   = false;
    bool                     embeddings = false;
    bool                     require_device = false;
    std::string              host       = "127.0.0.1";
    std::string              port       = "8080";
    std::string              api_key;
    std::string              bundle;         // another file than this one
    int                      threads = 0;    // 0: as many as cores may be used
    std::string              gpu_layers;
    std::string              tensor_split;
    std::string              flash_attention;
    std::vector<std::string> rest;           // what follows `--`: for the server
};

// Throws Problem with exit code 2.
Options parse_options(int argc, char ** argv);

// Lists the options, with what the run contract says.
std::string usage(const std::string & program, const nlohmann::json & contract);

// Returns llama.cpp's own options for what is loaded and how it is sampled: the run contract, and the devices. How much
// context there is the caller says.
std::vector<std::string> model_arguments(const Bundle & bundle, const Options & options);

// Answers one prompt, or talks until the input ends.
int talk(const Bundle & bundle, const Options & options);

// Serves until it is told to stop.
int serve(const Bundle & bundle, const Options & options);

// Asks a server for its health; 0 if it is well.
int ask_health(const std::string & host, const std::string & port);

}  // namespace lftool
