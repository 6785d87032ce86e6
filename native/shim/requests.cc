#include "requests.h"

#include <algorithm>
#include <string>

namespace starling {
namespace {

// A JSON value as text again: the process object of an exec goes through the same checks as a spec's.
void AppendJson(std::string& out, const json::Value& value) {
  switch (value.type) {
    case json::Value::Type::kNull: out.append("null"); break;
    case json::Value::Type::kBool: out.append(value.boolean ? "true" : "false"); break;
    case json::Value::Type::kInt: out.append(std::to_string(value.integer)); break;
    case json::Value::Type::kUint: out.append(std::to_string(static_cast<uint64_t>(value.integer))); break;
    case json::Value::Type::kDouble: out.append(std::to_string(value.number)); break;
    case json::Value::Type::kString: json::AppendString(out, value.string); break;
    case json::Value::Type::kArray:
      out.push_back('[');
      for (size_t i = 0; i < value.array.size(); i++) {
        if (i > 0) out.push_back(',');
        AppendJson(out, value.array[i]);
      }
      out.push_back(']');
      break;
    case json::Value::Type::kObject:
      out.push_back('{');
      for (size_t i = 0; i < value.object.size(); i++) {
        if (i > 0) out.push_back(',');
        json::AppendString(out, value.object[i].name);
        out.push_back(':');
        AppendJson(out, value.object[i].value);
      }
      out.push_back('}');
  }
}

}  // namespace

Request ParseRequest(std::string_view line) {
  Request request;
  auto parsed = json::Parse(line);
  if (!parsed.ok()) {
    request.fault = parsed.error();
    return request;
  }
  request.value = std::move(*parsed);
  std::string fault;
  json::Reader reader(request.value, "", &fault);
  int64_t version = reader.Int("v", 0, 0, INT32_MAX);
  request.id = reader.Int("id", 0, 0, INT64_MAX);
  request.op = reader.String("op");
  if (fault.empty() && version != kProtocolVersion) {
    fault = "protocol version " + std::to_string(version) + ", this shim speaks " + std::to_string(kProtocolVersion);
  }
  if (!fault.empty()) request.fault = Error{"request: " + fault, EPROTO};
  return request;
}

int64_t IntMember(const json::Value& request, std::string_view key, int64_t fallback) {
  const json::Value* member = request.Find(key);
  return member != nullptr && member->type == json::Value::Type::kInt ? member->integer : fallback;
}

bool BoolMember(const json::Value& request, std::string_view key) {
  const json::Value* member = request.Find(key);
  return member != nullptr && member->type == json::Value::Type::kBool && member->boolean;
}

Result<ProcessSpec> ExecProcess(const json::Value& request, const ProcessSpec& container) {
  const json::Value* process = request.Find("process");
  if (process == nullptr) return Error{"exec: `process` is missing", EINVAL};
  std::string text;
  AppendJson(text, *process);
  ProcessSpec fallback = container;
  fallback.args.clear();
  fallback.tty = false;
  return ParseProcess(text, fallback);
}

winsize WindowSize(const json::Value& request) {
  winsize size = {};
  size.ws_row = static_cast<unsigned short>(std::clamp<int64_t>(IntMember(request, "rows", 24), 1, 9999));
  size.ws_col = static_cast<unsigned short>(std::clamp<int64_t>(IntMember(request, "columns", 80), 1, 9999));
  return size;
}

}  // namespace starling
