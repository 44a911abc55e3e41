// llama.cpp loads models and adapters by path. The linker puts these functions in place of that (-Wl,--wrap), so that
// whatever runs here, server or chat, gets what lies in the bundle, mapped where it lies.
#include "applied.h"
#include "bundle.h"

#include <cstdio>
#include <cstring>
#include <exception>

#include "llama.h"
#include "wrap.h"

llama_model * real_load(const char * path, llama_model_params params) LFTOOL_THEIRS(llama_model_load_from_file);
llama_model * wrap_load(const char * path, llama_model_params params) LFTOOL_OURS(llama_model_load_from_file);
llama_adapter_lora * real_adapter(llama_model * model, const char * path) LFTOOL_THEIRS(llama_adapter_lora_init);
llama_adapter_lora * wrap_adapter(llama_model * model, const char * path) LFTOOL_OURS(llama_adapter_lora_init);

namespace {

// llama.cpp reads tensors that are not mapped when it needs them, so the weights stay open.
lftool::File        weights;
const llama_model * loaded = nullptr;

// Returns what `load` returns; null, as llama.cpp's C functions do, where it fails.
template <typename Load> auto reported(const Load & load) noexcept -> decltype(load()) {
    try {
        return load();
    } catch (const std::exception & error) {
        fprintf(stderr, "%s: %s\n", lftool::own().name.c_str(), error.what());
    } catch (...) {
        fputs("an error of an unknown kind\n", stderr);
    }
    return nullptr;
}

}  // namespace

namespace lftool {

const llama_model * loaded_model() {
    return loaded;
}

}  // namespace lftool

llama_model * wrap_load(const char * path, llama_model_params params) {
    if (strcmp(path, lftool::WEIGHTS) != 0) {
        return real_load(path, params);
    }
    return reported([&] {
        weights              = lftool::own().open(lftool::own().content("weights"));
        llama_model * model  = llama_model_load_from_file_ptr(weights.get(), params);
        loaded               = model;
        if (model != nullptr) {
            lftool::end_at(model, lftool::own().contract);
        }
        return model;
    });
}

llama_adapter_lora * wrap_adapter(llama_model * model, const char * path) {
    if (strcmp(path, lftool::ADAPTER) != 0) {
        return real_adapter(model, path);
    }
    return reported([&] {
        const lftool::File file = lftool::own().open(lftool::own().content("adapter"));
        return llama_adapter_lora_init_from_file_ptr(model, file.get());
    });
}
