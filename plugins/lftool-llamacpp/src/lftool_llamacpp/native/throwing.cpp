// The search for a handler, without throwing (Itanium C++ ABI: Exception Handling, "1.6.3 Personality Routine"). Each function on
// the stack is asked, as the unwinder asks it. One that promises to throw nothing says that it has a handler, and no place where
// it would go on.
#include "throwing.h"

#include <cstdint>
#include <exception>
#include <new>
#include <stdexcept>

#include <cxxabi.h>
#include <unwind.h>

extern "C" _Unwind_Reason_Code __gxx_personality_v0(int version, _Unwind_Action actions, _Unwind_Exception_Class kind,
                                                    _Unwind_Exception * thrown, _Unwind_Context * context);

namespace lftool {

namespace {

// What lies before an exception object, from the end (Itanium C++ ABI, "2.2.1 C++ Exception Objects").
struct Found {
    uintptr_t         place;  // where the handler goes on, once the search has found one
    void *            adjusted;
    _Unwind_Exception header;
};

struct Search {
    Found * thrown;
    bool    caught = false;
};

_Unwind_Reason_Code ask(_Unwind_Context * context, void * search) {
    if (_Unwind_GetLanguageSpecificData(context) == 0) {
        return _URC_NO_REASON;  // nothing to do there when an exception passes
    }
    Found & thrown = *static_cast<Search *>(search)->thrown;
    const auto said = __gxx_personality_v0(1, _UA_SEARCH_PHASE, thrown.header.exception_class, &thrown.header, context);
    if (said == _URC_CONTINUE_UNWIND) {
        return _URC_NO_REASON;
    }
    static_cast<Search *>(search)->caught = said == _URC_HANDLER_FOUND && thrown.place != 0;
    return _URC_END_OF_STACK;
}

void destroy(void * error) {
    static_cast<std::runtime_error *>(error)->~runtime_error();
}

}  // namespace

bool can_throw() {
    if (std::uncaught_exceptions() > 0) {
        return false;
    }
    void * error = abi::__cxa_allocate_exception(sizeof(std::runtime_error));
    new (error) std::runtime_error("");
    abi::__cxa_init_primary_exception(error, const_cast<std::type_info *>(&typeid(std::runtime_error)), destroy);
    Search search{ static_cast<Found *>(error) - 1 };
    _Unwind_Backtrace(ask, &search);
    destroy(error);
    abi::__cxa_free_exception(error);
    return search.caught;
}

}  // namespace lftool
