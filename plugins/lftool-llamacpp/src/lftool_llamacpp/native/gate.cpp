#include "gate.h"

#include <arpa/inet.h>

#include <cpp-httplib/httplib.h>

#include "bundle.h"

namespace lftool {

namespace {

bool local_only = false;

// Returns the host of `host:port`, `[host]:port` or either without a port.
std::string without_port(const std::string & authority) {
    if (!authority.empty() && authority[0] == '[') {
        return authority.substr(1, authority.find(']') - 1);
    }
    return authority.substr(0, authority.rfind(':'));
}

bool is_local_origin(const std::string & origin) {
    const size_t begin = origin.find("://");
    return begin != std::string::npos && is_loopback(without_port(origin.substr(begin + 3)));
}

}  // namespace

bool is_loopback(const std::string & host) {
    in_addr  four;
    in6_addr six;
    if (inet_pton(AF_INET, host.c_str(), &four) == 1) {
        return ntohl(four.s_addr) >> 24 == 127;
    }
    return host == "localhost" || (inet_pton(AF_INET6, host.c_str(), &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six));
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

}  // namespace lftool

#define TEXT_OF(name) #name
#define TEXT(name)    TEXT_OF(name)

using Handler = httplib::Server::HandlerWithResponse;

httplib::Server & wrap_pre_routing(httplib::Server * self, Handler handler) __asm__("__wrap_" TEXT(LFTOOL_PRE_ROUTING));
httplib::Server & real_pre_routing(httplib::Server * self, Handler handler) __asm__("__real_" TEXT(LFTOOL_PRE_ROUTING));

// Upstream's handler for all requests, with a question before it. Browsers say which site a page comes from (Origin), and by
// which name they reach this machine (Host): a name of anybody's may lead here.
httplib::Server & wrap_pre_routing(httplib::Server * self, Handler handler) {
    return real_pre_routing(self, [handler](const httplib::Request & request, httplib::Response & response) {
        const std::string host = request.get_header_value("Host"), origin = request.get_header_value("Origin");
        const bool host_is_ours = host.empty() || lftool::is_loopback(lftool::without_port(host));
        if (lftool::local_only && (!host_is_ours || (!origin.empty() && !lftool::is_local_origin(origin)))) {
            response.status = 403;
            response.set_content(
                R"({"error":{"code":403,"type":"permission_error","message":"without an API key, only this machine and its own pages may ask; set LLAMA_API_KEY, or --insecure"}})",
                "application/json");
            return httplib::Server::HandlerResponse::Handled;
        }
        return handler(request, response);
    });
}
