#include "page.h"

#include <cstdlib>

#include <cpp-httplib/httplib.h>

extern "C" const char lftool_page_html[], lftool_page_html_end[], lftool_page_css[], lftool_page_css_end[], lftool_page_js[], lftool_page_js_end[];

namespace lftool {

namespace {

const std::string MODELS = "/v1/models/";
// What a model says is shown by the page: nothing of it may run, or reach another site. page_files.py sends the same.
const char * const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
                            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct PageFile {
    const char * path;
    const char * type;
    const char * begin;
    const char * end;
};

// llama.cpp's own page stands at the same address where it is compiled in.
#if LFTOOL_PAGE
const PageFile FILES[] = {
    { "/", "text/html; charset=utf-8", lftool_page_html, lftool_page_html_end },
    { "/chat.css", "text/css; charset=utf-8", lftool_page_css, lftool_page_css_end },
    { "/chat.js", "text/javascript; charset=utf-8", lftool_page_js, lftool_page_js_end },
};
#endif

std::string about;
std::string name;

const char * word(Does does) {
    return does == Does::RANKS ? "ranks" : does == Does::EMBEDS ? "embeds" : "generates";
}

void answer_json(httplib::Response & response, int status, const nlohmann::json & body) {
    response.status = status;
    response.set_content(body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), "application/json");
}

}  // namespace

void introduce(const Bundle & bundle, Does does, int64_t context) {
    const char *   signature = getenv("LFTOOL_SIGNATURE");  // `lftool serve` has looked
    nlohmann::json told      = {
        { "name", bundle.title },
        { "version", bundle.version },
        { "signature", signature != nullptr ? signature : "signature not looked at" },
        { "system", bundle.contract.value("system", "") },
        { "context", context },
        { "does", word(does) },
    };
    about = told.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    name  = bundle.title;
}

bool answer_page(const httplib::Request & request, httplib::Response & response) {
#if LFTOOL_PAGE
    if (request.method != "GET" && request.method != "HEAD") {
        return false;
    }
    for (const PageFile & file : FILES) {
        if (request.path == file.path) {
            response.status = 200;
            response.set_header("Content-Security-Policy", POLICY);
            response.set_header("X-Content-Type-Options", "nosniff");
            response.set_header("Referrer-Policy", "no-referrer");
            response.set_header("Cache-Control", "no-cache");
            response.set_content(file.begin, static_cast<size_t>(file.end - file.begin), file.type);
            return true;
        }
    }
#else
    (void) request;
    (void) response;
    (void) POLICY;
#endif
    return false;
}

bool answer_besides(const httplib::Request & request, httplib::Response & response) {
    if (request.method != "GET") {
        return false;
    }
    if (request.path == "/lftool.json") {
        response.status = 200;
        response.set_content(about, "application/json");
        return true;
    }
    if (request.path.compare(0, MODELS.size(), MODELS) != 0) {
        return false;
    }
    if (request.path.substr(MODELS.size()) == name) {
        answer_json(response, 200, { { "id", name }, { "object", "model" }, { "created", 0 }, { "owned_by", "lftool" } });
    } else {
        const std::string told = "there is no model " + request.path.substr(MODELS.size(), 200) + "; " + name + " is served";
        answer_json(response, 404, { { "error", { { "code", "model_not_found" }, { "type", "invalid_request_error" }, { "message", told } } } });
    }
    return true;
}

}  // namespace lftool
