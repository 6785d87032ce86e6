// Where a container's output goes besides its json-file: syslog (RFC 5424 or the older form of RFC 3164, over a Unix
// socket, UDP or TCP) or journald (its native protocol). Never waits: what the other side does not take at once is kept up
// to a bound, then lost and counted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "../base/result.h"
#include "../runtime/spec.h"
#include "../sys/unique_fd.h"

namespace starling {

class LogSink {
 public:
  // With `kind` kNone a sink that takes nothing. A collector that is away is tried again with later lines.
  static Result<LogSink> Open(const LogSinkSpec& spec);

  // One line without its newline. `from_stderr`: severity error, else informational.
  void Send(bool from_stderr, std::string_view line);

  // Gives the collector the rest, waiting for it a moment.
  void Finish();

  bool open() const { return spec_.kind != LogSinkSpec::Kind::kNone; }
  int64_t dropped() const { return dropped_; }

 private:
  bool Connect();
  void Flush();
  std::string SyslogMessage(bool from_stderr, std::string_view line) const;
  std::string JournalMessage(bool from_stderr, std::string_view line) const;

  LogSinkSpec spec_;
  UniqueFd socket_;
  // Of a TCP collector: frames not sent yet.
  std::string unsent_;
  int64_t next_attempt_ms_ = 0;
  int64_t dropped_ = 0;
};

// The message of one line, `now` in seconds since the epoch and microseconds. Pure; for tests.
std::string FormatSyslog(const LogSinkSpec& spec, bool from_stderr, std::string_view line, int64_t now_s, int64_t micros);

}  // namespace starling
