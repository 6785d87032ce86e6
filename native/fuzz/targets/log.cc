// A container's output on its way to the log: whatever it writes, every line of the file is one JSON object, no line is
// longer than the bound, and the text comes back. And as messages of syslog, which are one line each.
#include <sys/stat.h>
#include <unistd.h>

#include "../../base/json.h"
#include "../../base/utf8.h"
#include "../../shim/log_writer.h"
#include "../../sys/fs.h"
#include "input.h"

namespace starling::fuzz {
namespace {

constexpr size_t kLineMax = 16 << 10;

const std::string& LogFolder() {
  static const std::string folder = [] {
    char name[] = "/dev/shm/starling-fuzz-XXXXXX";
    Require(mkdtemp(name) != nullptr, "a folder can be made");
    return std::string(name);
  }();
  static const bool registered = [] {
    atexit([] {
      for (const char* file : {"/log", "/log.1", "/log.2"}) unlink((LogFolder() + file).c_str());
      rmdir(LogFolder().c_str());
    });
    return true;
  }();
  (void)registered;
  return folder;
}

// The texts of one stream, as readers of the log put them together.
std::string ReadBack(const std::string& path, std::string_view stream) {
  std::string text;
  for (const char* number : {".2", ".1", ""}) {
    auto file = fs::ReadFile(path + number);
    if (!file.ok()) continue;
    for (std::string_view line : fs::Split(*file, '\n')) {
      if (line.empty()) continue;
      auto value = json::Parse(line);
      Require(value.ok() && value->Find("log") != nullptr && value->Find("stream") != nullptr, "every line of a log is JSON");
      if (value->Find("stream")->string == stream) text += value->Find("log")->string;
    }
  }
  return text;
}

void TryFile(unsigned piece, std::string_view output) {
  LogSpec spec;
  spec.path = LogFolder() + "/log";
  spec.max_bytes = 1 << 20;
  {
    auto writer = LogWriter::Open(spec);
    Require(writer.ok(), "a log can be opened");
    for (size_t at = 0; at < output.size(); at += piece) writer->Append(Stream::kStdout, output.substr(at, piece));
    writer->Append(Stream::kStderr, output);
    writer->Finish(Stream::kStdout);
    writer->Finish(Stream::kStderr);
    writer->Close();
    Require(writer->dropped_writes() == 0, "nothing is lost");
  }
  bool is_text = true;
  for (std::string_view rest = output; !rest.empty() && is_text;) {
    size_t length = utf8::SequenceLength(rest);
    is_text = length > 0;
    rest.remove_prefix(length);
  }
  for (const char* stream : {"stdout", "stderr"}) {
    std::string back = ReadBack(spec.path, stream);
    // A character at the bound of a line may be cut in two.
    if (is_text && output.size() < kLineMax) Require(back == output, "the log has what the program wrote");
  }
  for (const char* number : {"", ".1", ".2"}) unlink((spec.path + number).c_str());
}

void TrySyslog(bool rfc5424, std::string_view line) {
  LogSinkSpec spec;
  spec.kind = LogSinkSpec::Kind::kSyslog;
  spec.rfc5424 = rfc5424;
  spec.hostname = "host";
  spec.tag = "web.1";
  std::string_view one = line.substr(0, line.find('\n'));
  std::string message = FormatSyslog(spec, false, one, 1'700'000'000, 5);
  Require(message.starts_with("<30>"), "a message begins with its priority");
  Require(message.find('\n') == std::string::npos, "a message is one line");
}

}  // namespace
}  // namespace starling::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace starling;
  fuzz::Input input(data, size);
  unsigned way = input.Choice(256);
  if (way < 64) fuzz::TrySyslog(way % 2 == 0, input.Rest());
  else fuzz::TryFile(way - 63, input.Rest());
  return 0;
}
