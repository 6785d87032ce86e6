#include "../shim/log_sink.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

#include "check.h"

namespace starling {
namespace {

LogSinkSpec Syslog(bool rfc5424) {
  LogSinkSpec spec;
  spec.kind = LogSinkSpec::Kind::kSyslog;
  spec.facility = 3;
  spec.tag = "web";
  spec.hostname = "host1";
  spec.rfc5424 = rfc5424;
  return spec;
}

TEST(syslog_messages_have_either_form) {
  std::string pid = std::to_string(getpid());
  CHECK_EQ(FormatSyslog(Syslog(false), false, "hello", 1'700'000'000, 5), "<30>Nov 14 22:13:20 web[" + pid + "]: hello");
  CHECK_EQ(FormatSyslog(Syslog(true), true, "oh", 1'700'000'000, 5),
           "<27>1 2023-11-14T22:13:20.000005Z host1 web " + pid + " web - oh");
  LogSinkSpec remote = Syslog(false);
  remote.transport = LogSinkSpec::Transport::kUdp;
  CHECK_EQ(FormatSyslog(remote, false, "x", 1'700'000'000, 0), "<30>Nov 14 22:13:20 host1 web[" + pid + "]: x");
}

TEST(syslog_goes_to_a_unix_socket_and_survives_its_absence) {
  std::string path = "/tmp/starling-sink-" + std::to_string(getpid());
  LogSinkSpec spec = Syslog(false);
  spec.address = path;
  auto lost = LogSink::Open(spec);
  CHECK(lost.ok());
  lost->Send(false, "nobody listens");
  CHECK_EQ(lost->dropped(), int64_t{1});
  int collector = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, path.c_str());
  CHECK_EQ(bind(collector, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  auto sink = LogSink::Open(spec);
  sink->Send(true, "line");
  char buffer[256];
  ssize_t count = recv(collector, buffer, sizeof buffer, 0);
  CHECK(count > 0 && std::string_view(buffer, static_cast<size_t>(count)).ends_with("]: line"));
  close(collector);
  unlink(path.c_str());
}

}  // namespace
}  // namespace starling
