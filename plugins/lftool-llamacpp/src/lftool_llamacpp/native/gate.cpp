#include "gate.h"

#include <algorithm>
#include <cctype>

#include <arpa/inet.h>
#include <strings.h>

#include <cpp-httplib/httplib.h>

#include "page.h"
#include "problem.h"
#include "wrap.h"

namespace lftool {

namespace {

bool local_only      = false;
bool adapters_closed = false;

// Returns the host of `host:port`, `[host]:port` or either without a port; nothing where it is none of them.
std::string without_port(const std::string & authority) {
    size_t end = authority.find(':');
    std::string host;
    if (!authority.empty() && authority[0] == '[') {
        const size_t close = authority.find(']');
        if (close == std::string::npos) {
            return "";
        }
        host = authority.substr(1, close - 1);
        end  = close + 1;
        if (end == authority.size()) {
            return host;
        }
    } else {
        if (end == std::string::npos) {
            return authority;
        }
        host = authority.substr(0, end);
    }
    const std::string port = authority.substr(end);
    const bool        is_port = port.size() > 1 && port.size() <= 6 && port[0] == ':' && port.find_first_not_of("0123456789", 1) == std::string::npos;
    return is_port ? host : "";
}

bool is_local_origin(const std::string & origin) {
    const size_t      begin  = origin.find("://");
    const std::string scheme = origin.substr(0, begin);
    return begin != std::string::npos && (scheme == "http" || scheme == "https") && is_loopback(without_port(origin.substr(begin + 3)));
}

// Returns whether a request comes from a page of another site, or by another name of this machine; python's is gate.py.
bool is_from_elsewhere(const httplib::Request & request) {
    if (request.get_header_value_count("Host") > 1 || request.get_header_value_count("Origin") > 1) {
        return true;
    }
    const std::string host = request.get_header_value("Host"), origin = request.get_header_value("Origin");
    return (!host.empty() && !is_loopback(without_port(host))) || (!origin.empty() && !is_local_origin(origin));
}

void answer(httplib::Response & response, int status, const char * type, const char * message) {
    response.status = status;
    response.set_content(std::string(R"({"error":{"code":)") + std::to_string(status) + R"(,"type":")" + type + R"(","message":")" + message + R"("}})", "application/json");
}

}  // namespace

bool is_loopback(const std::string & host) {
    in_addr  four;
    in6_addr six;
    if (inet_pton(AF_INET, host.c_str(), &four) == 1) {
        return ntohl(four.s_addr) >> 24 == 127;
    }
    std::string name = host;
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char letter) { return static_cast<char>(tolower(letter)); });
    return name == "localhost" || (inet_pton(AF_INET6, host.c_str(), &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six));
}

void check_host(const std::string & host) {
    if (host.empty() || host.find_first_of(", \t") != std::string::npos) {
        throw Problem(2, "--host takes one address, got '" + host + "'");
    }
}

void check_key(const std::string & key) {
    for (const unsigned char letter : key) {
        if (letter <= ' ' || letter > '~' || letter == ',') {
            throw Problem(2, "an API key has no spaces, commas, or letters outside ASCII: clients could not send it");
        }
    }
}

void refuse_other_sites() {
    local_only = true;
}

void close_adapters() {
    adapters_closed = true;
}

}  // namespace lftool

using Handler = httplib::Server::HandlerWithResponse;

httplib::Server & wrap_pre_routing(httplib::Server * self, Handler handler) LFTOOL_OURS(LFTOOL_PRE_ROUTING);
httplib::Server & real_pre_routing(httplib::Server * self, Handler handler) LFTOOL_THEIRS(LFTOOL_PRE_ROUTING);

namespace {

// Returns what upstream's handler says of a request; one that it lets pass may be ours to answer.
httplib::Server::HandlerResponse asked(const Handler & handler, const httplib::Request & request, httplib::Response & response) {
    const auto said = handler(request, response);
    const bool ours = said == httplib::Server::HandlerResponse::Unhandled && lftool::answer_besides(request, response);
    return ours ? httplib::Server::HandlerResponse::Handled : said;
}

}  // namespace

// Upstream's handler for all requests, with questions before it. Browsers say which site a page comes from (Origin), and by
// which name they reach this machine (Host): a name of anybody's may lead here.
httplib::Server & wrap_pre_routing(httplib::Server * self, Handler handler) {
    return real_pre_routing(self, [handler](const httplib::Request & request, httplib::Response & response) {
        if (lftool::local_only && lftool::is_from_elsewhere(request)) {
            lftool::answer(response, 403, "permission_error", "without an API key, only this machine and its own pages may ask; set LLAMA_API_KEY, or --insecure");
            return httplib::Server::HandlerResponse::Handled;
        }
        if (lftool::answer_page(request, response)) {
            return httplib::Server::HandlerResponse::Handled;
        }
        if (lftool::adapters_closed && request.method == "POST" && request.path == "/lora-adapters") {
            lftool::answer(response, 403, "permission_error", "without an API key, no client changes what the model is; set LLAMA_API_KEY");
            return httplib::Server::HandlerResponse::Handled;
        }
        const size_t keys = request.get_header_value_count("Authorization");
        if (keys > 1) {
            lftool::answer(response, 401, "authentication_error", "Invalid API Key");
            return httplib::Server::HandlerResponse::Handled;
        }
        if (keys == 0) {
            return asked(handler, request, response);
        }
        // The scheme may be written in any case (RFC 9110, 11.1); upstream looks for one spelling, or takes a key without one.
        const std::string given = request.get_header_value("Authorization");
        httplib::Request  spelt;
        spelt.method  = request.method;
        spelt.path    = request.path;
        spelt.headers = request.headers;
        spelt.headers.erase("Authorization");
        if (strncasecmp(given.c_str(), "bearer ", 7) == 0) {
            const size_t begin = std::min(given.find_first_not_of(' ', 7), given.size());
            spelt.headers.emplace("Authorization", "Bearer " + given.substr(begin));
        }
        return asked(handler, spelt, response);
    });
}
