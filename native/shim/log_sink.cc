#include "log_sink.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <ctime>

#include "clock.h"

namespace starling {
namespace {

constexpr int kSeverityError = 3;
constexpr int kSeverityInfo = 6;
constexpr size_t kUnsentMaxBytes = 1 << 20;
constexpr int64_t kReconnectMs = 1'000;
constexpr int kFinishMs = 1'000;
constexpr char kJournal[] = "/run/systemd/journal/socket";

socklen_t UnixAddress(const std::string& path, sockaddr_storage& out) {
  auto* address = reinterpret_cast<sockaddr_un*>(&out);
  address->sun_family = AF_UNIX;
  std::memcpy(address->sun_path, path.c_str(), path.size() + 1);
  return sizeof *address;
}

socklen_t InternetAddress(const std::string& text, int port, sockaddr_storage& out) {
  auto* v4 = reinterpret_cast<sockaddr_in*>(&out);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&out);
  if (inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    return sizeof *v4;
  }
  if (inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) != 1) return 0;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(static_cast<uint16_t>(port));
  return sizeof *v6;
}

std::string Timestamp(const char* format, int64_t now_s) {
  time_t seconds = now_s;
  tm parts;
  gmtime_r(&seconds, &parts);
  char text[48];
  return std::string(text, strftime(text, sizeof text, format, &parts));
}

}  // namespace

std::string FormatSyslog(const LogSinkSpec& spec, bool from_stderr, std::string_view line, int64_t now_s, int64_t micros) {
  std::string out = "<" + std::to_string(spec.facility * 8 + (from_stderr ? kSeverityError : kSeverityInfo)) + ">";
  if (spec.rfc5424) {
    char fraction[16];
    snprintf(fraction, sizeof fraction, ".%06lldZ", static_cast<long long>(micros));
    out += "1 " + Timestamp("%Y-%m-%dT%H:%M:%S", now_s) + fraction + " " + spec.hostname + " " + spec.tag + " " +
           std::to_string(getpid()) + " " + spec.tag + " - ";
  } else {
    // The local socket's daemon knows the host.
    std::string host = spec.transport == LogSinkSpec::Transport::kUnix ? "" : spec.hostname + " ";
    out += Timestamp("%b %e %H:%M:%S", now_s) + " " + host + spec.tag + "[" + std::to_string(getpid()) + "]: ";
  }
  return out.append(line);
}

Result<LogSink> LogSink::Open(const LogSinkSpec& spec) {
  LogSink sink;
  sink.spec_ = spec;
  if (sink.open() && !sink.Connect()) sink.next_attempt_ms_ = MonotonicMs() + kReconnectMs;
  return sink;
}

bool LogSink::Connect() {
  sockaddr_storage address;
  std::memset(&address, 0, sizeof address);
  bool journal = spec_.kind == LogSinkSpec::Kind::kJournald;
  bool local = journal || spec_.transport == LogSinkSpec::Transport::kUnix;
  bool tcp = !local && spec_.transport == LogSinkSpec::Transport::kTcp;
  socklen_t length = local ? UnixAddress(journal ? kJournal : spec_.address, address)
                           : InternetAddress(spec_.address, spec_.port, address);
  if (length == 0) return false;
  UniqueFd fd(socket(address.ss_family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return false;
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 && errno != EINPROGRESS) return false;
  socket_ = std::move(fd);
  return true;
}

std::string LogSink::SyslogMessage(bool from_stderr, std::string_view line) const {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  std::string message = FormatSyslog(spec_, from_stderr, line, now.tv_sec, now.tv_nsec / 1000);
  if (spec_.transport == LogSinkSpec::Transport::kTcp) message.push_back('\n');
  return message;
}

// KEY=value lines; values cannot hold a newline, since lines are split at it.
std::string LogSink::JournalMessage(bool from_stderr, std::string_view line) const {
  std::string message = "PRIORITY=" + std::to_string(from_stderr ? kSeverityError : kSeverityInfo) + "\nMESSAGE=";
  message.append(line).append("\nSYSLOG_IDENTIFIER=").append(spec_.tag).append("\n");
  for (const auto& [name, value] : spec_.fields) message.append(name).append("=").append(value).append("\n");
  return message;
}

void LogSink::Send(bool from_stderr, std::string_view line) {
  if (!open()) return;
  bool journal = spec_.kind == LogSinkSpec::Kind::kJournald;
  std::string message = journal ? JournalMessage(from_stderr, line) : SyslogMessage(from_stderr, line);
  if (!socket_ && MonotonicMs() >= next_attempt_ms_ && !Connect()) next_attempt_ms_ = MonotonicMs() + kReconnectMs;
  if (!journal && spec_.transport == LogSinkSpec::Transport::kTcp) {
    if (unsent_.size() + message.size() > kUnsentMaxBytes) dropped_++;
    else unsent_.append(message);
    return Flush();
  }
  if (socket_ && send(socket_.get(), message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return;
  dropped_++;
  // A collector that was started anew has another socket behind the same name.
  if (errno == ECONNREFUSED || errno == ENOTCONN || errno == ECONNRESET || errno == ENOENT) socket_.reset();
}

void LogSink::Flush() {
  while (socket_ && !unsent_.empty()) {
    ssize_t count = send(socket_.get(), unsent_.data(), unsent_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) {
      unsent_.erase(0, static_cast<size_t>(count));
    } else if (errno == EINTR) {
      continue;
    } else if (errno == EAGAIN || errno == EINPROGRESS || errno == EALREADY) {
      return;
    } else {
      // The first line that is kept is whole again only if nothing of it was sent: begin with the next one.
      socket_.reset();
      next_attempt_ms_ = MonotonicMs() + kReconnectMs;
      size_t end = unsent_.find('\n');
      unsent_.erase(0, end == std::string::npos ? unsent_.size() : end + 1);
      dropped_++;
    }
  }
}

void LogSink::Finish() {
  if (!open() || unsent_.empty()) return;
  int64_t deadline_ms = MonotonicMs() + kFinishMs;
  while (!unsent_.empty() && MonotonicMs() < deadline_ms) {
    if (!socket_ && !Connect()) return;
    pollfd item = {socket_.get(), POLLOUT, 0};
    if (poll(&item, 1, static_cast<int>(deadline_ms - MonotonicMs())) <= 0) return;
    Flush();
  }
}

}  // namespace starling
