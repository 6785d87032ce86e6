// Members of requests, read leniently: a missing one has its default.
#pragma once

#include <sys/ioctl.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "../base/json.h"
#include "../base/result.h"
#include "../runtime/spec.h"

namespace starling {

constexpr int64_t kProtocolVersion = 1;

// One line of a client.
struct Request {
  // 0 when it could not be read.
  int64_t id = 0;
  std::string op;
  json::Value value;
  // Why it cannot be carried out, if so.
  Status fault;
};
Request ParseRequest(std::string_view line);

int64_t IntMember(const json::Value& request, std::string_view key, int64_t fallback);
bool BoolMember(const json::Value& request, std::string_view key);

// `process` of an exec request over the container's own; its terminal is its own matter.
Result<ProcessSpec> ExecProcess(const json::Value& request, const ProcessSpec& container);

// `rows` and `columns`, 24 × 80 when absent.
winsize WindowSize(const json::Value& request);

}  // namespace starling
