// llama.cpp loads models and adapters by path. The linker puts these functions in place of that (-Wl,--wrap), so that
// whatever runs here, server or chat, gets what lies in the bundle, mapped where it lies.
#include "bundle.h"

#include <cstring>

#include "llama.h"

using lftool::own;

namespace {

const llama_model * loaded = nullptr;

}  // namespace

namespace lftool {

const llama_model * loaded_model() {
    return loaded;
}

}  // namespace lftool

extern "C" {

llama_model *        __real_llama_model_load_from_file(const char * path, llama_model_params params);
llama_adapter_lora * __real_llama_adapter_lora_init(llama_model * model, const char * path);
llama_model *        __wrap_llama_model_load_from_file(const char * path, llama_model_params params);
llama_adapter_lora * __wrap_llama_adapter_lora_init(llama_model * model, const char * path);

llama_model * __wrap_llama_model_load_from_file(const char * path, llama_model_params params) {
    if (strcmp(path, lftool::WEIGHTS) != 0) {
        return __real_llama_model_load_from_file(path, params);
    }
    llama_model * model = llama_model_load_from_file_ptr(own->open(*own->find("weights")), params);
    loaded              = model;
    return model;
}

llama_adapter_lora * __wrap_llama_adapter_lora_init(llama_model * model, const char * path) {
    if (strcmp(path, lftool::ADAPTER) != 0) {
        return __real_llama_adapter_lora_init(model, path);
    }
    FILE *               file    = own->open(*own->find("adapter"));
    llama_adapter_lora * adapter = llama_adapter_lora_init_from_file_ptr(model, file);
    fclose(file);
    return adapter;
}
}
