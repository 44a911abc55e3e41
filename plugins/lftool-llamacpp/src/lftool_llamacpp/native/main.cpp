// An lftool bundle that starts by itself: this executable, and behind it the model that it runs.
#include <clocale>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <utility>

#include <fcntl.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "applied.h"
#include "build-info.h"
#include "ggml-backend.h"
#include "files.h"
#include "level.h"
#include "llama.h"
#include "options.h"

// licenses.S
extern "C" const char lftool_licenses[], lftool_licenses_end[];

namespace {

std::string last_part(const std::string & path) {
    return path.substr(path.rfind('/') + 1);
}

// Opens the file that was started, by whatever name the system has for it.
lftool::Descriptor open_own() {
    lftool::Descriptor own(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    if (!own) {
        const char * path = reinterpret_cast<const char *>(getauxval(AT_EXECFN));  // no /proc: a bare root
        own = lftool::Descriptor(path == nullptr ? -1 : open(path, O_RDONLY | O_CLOEXEC));
    }
    return own;
}

// Returns what it will be computed on, for people.
std::string where() {
    std::string devices;
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        if (ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_GPU) {
            devices += (devices.empty() ? "" : ", ") + std::string(ggml_backend_dev_description(device));
        }
    }
    const std::string processor = std::string("the processor (") + lftool::level() + ")";
    return devices.empty() ? "on " + processor : "on " + devices + " as far as it fits, the rest on " + processor;
}

// Descriptors of standard streams that are closed would be given to files: then the bundle would be the prompt. The end of a
// pipe that nobody writes to takes their place: nothing can be read from it, and what is written to it is an error.
void fill_standard_streams() {
    for (int stream = 0; stream <= 2; stream++) {
        int ends[2];
        if (fcntl(stream, F_GETFD) < 0 && pipe(ends) == 0) {
            close(ends[1]);
        }
    }
}

// Variables that llama.cpp reads as options: they would decide what the contract and the command line decide here.
void clear_options_of_environment() {
    std::vector<std::string> names;
    for (char ** entry = environ; *entry != nullptr; entry++) {
        const std::string name = std::string(*entry).substr(0, std::string(*entry).find('='));
        if (name.rfind("LLAMA_ARG_", 0) == 0 || name.rfind("AIP_", 0) == 0) {
            names.push_back(name);
        }
    }
    for (const std::string & name : names) {
        unsetenv(name.c_str());
    }
}

int check(const lftool::Bundle & bundle) {
    if (bundle.content("weights").sha256.empty()) {
        throw lftool::Problem(2, "a GGUF, not a bundle: nothing names what its bytes must be");
    }
    const auto wrong = bundle.differing();
    for (const auto & path : wrong) {
        fprintf(stderr, "%s: %s is not what the manifest names\n", bundle.name.c_str(), path.c_str());
    }
    if (!wrong.empty()) {
        return 4;
    }
    printf("every content is what the manifest names; `lftool verify` also says who signed it\n");
    return 0;
}

// Returns what the run contract says; nothing where there is no bundle.
nlohmann::json contract_of(lftool::Descriptor file, const std::string & name) {
    try {
        return lftool::Bundle(std::move(file), name).contract;
    } catch (const lftool::Problem &) {
        return nlohmann::json::object();
    }
}

int run(int argc, char ** argv, std::string & name) {
    lftool::Options options = lftool::parse_options(argc, argv);
    if (options.licenses) {
        fwrite(lftool_licenses, 1, static_cast<size_t>(lftool_licenses_end - lftool_licenses), stdout);
        return 0;
    }
    if (!options.healthy.empty()) {
        return lftool::ask_health(options.host, options.healthy);
    }
    lftool::Descriptor file(lftool::handed_over());
    if (!file) {
        file = options.bundle.empty() ? open_own() : lftool::Descriptor(open(options.bundle.c_str(), O_RDONLY | O_CLOEXEC));
        if (!file) {
            const std::string what = options.bundle.empty() ? "this file" : options.bundle;
            throw lftool::Problem(1, what + " cannot be opened: " + strerror(errno));
        }
        lftool::go_on_at_best_level(file.get(), argv);
    }
    if (options.version) {
        printf("lftool native/1, " LFTOOL_BACKEND ", %s, llama.cpp %s of %s, %s\n", lftool::level(), llama_version(), llama_commit(), llama_compiler());
        return 0;
    }
    if (options.help) {
        fputs(lftool::usage(name, contract_of(std::move(file), name)).c_str(), stdout);
        return 0;
    }
    static lftool::Bundle bundle(std::move(file), name);  // threads of the server may ask for it until the process ends
    bundle.contract.update(options.contract);
    lftool::set_own(bundle);
    if (options.verify) {
        return check(bundle);
    }
    bundle.content("weights");  // or there is nothing to run
    lftool::check_contract(bundle.contract);
    if (options.think < 0 && bundle.contract.contains("reasoning")) {
        options.think = bundle.contract.at("reasoning") == "on" ? 1 : 0;
    }
    // An executable for a device that is missing says so; it computes elsewhere only when it is asked to.
    const bool meant = options.require_device || (strcmp(LFTOOL_BACKEND, "cpu") != 0 && options.gpu_layers != "0");
    if (meant && !llama_supports_gpu_offload()) {
        throw lftool::Problem(8, std::string("there is no device here that this executable (") + LFTOOL_BACKEND +
                                     ") can compute on; --gpu-layers 0 uses the processor");
    }
    if (getenv("LFTOOL_BUNDLE") == nullptr) {  // `lftool run` has said it already
        fprintf(stderr, "%s: %s, weights mapped where they lie\n", name.c_str(), where().c_str());
    }
    return options.server ? lftool::serve(bundle, options) : lftool::talk(bundle, options);
}

}  // namespace

int main(int argc, char ** argv) {
    const char * given = getenv("LFTOOL_BUNDLE");  // `lftool run` hands over an open file, which has no name of its own
    std::string  name  = last_part(given != nullptr ? given : argc > 0 ? argv[0] : "bundle");
    setlocale(LC_NUMERIC, "C");
    fill_standard_streams();
    clear_options_of_environment();
    try {
        const int status = run(argc, argv, name);
        if (fflush(stdout) != 0 || ferror(stdout) != 0 || !std::cout.flush()) {
            throw lftool::Problem(1, "standard output cannot be written");
        }
        return status;
    } catch (const lftool::Problem & problem) {
        fprintf(stderr, "%s: %s\n", name.c_str(), problem.what());
        return problem.exit_code;
    } catch (const nlohmann::json::exception & error) {
        fprintf(stderr, "%s: its manifest cannot be followed: %s\n", name.c_str(), error.what());
        return 4;
    } catch (const std::exception & error) {
        fprintf(stderr, "%s: %s\n", name.c_str(), error.what());
        return 1;
    }
}
