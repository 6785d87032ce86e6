#include "name_sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "../sys/unique_fd.h"

namespace starling {
namespace {

constexpr uint32_t kNameServer = 0x7f00000b;
constexpr int kBacklog = 64;

Status HoldSocket(int type, int as) {
  UniqueFd fd(socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::Errno("socket", "name server");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(kNameServer);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return Error::Errno("bind", "name server");
  if (type == SOCK_STREAM && listen(fd.get(), kBacklog) != 0) return Error::Errno("listen", "name server");
  if (dup3(fd.get(), as, O_CLOEXEC) < 0) return Error::Errno("dup3", "name server");
  return {};
}

}  // namespace

Status HoldNameSockets(pid_t container) {
  UniqueFd own(open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!own) return Error::Errno("open", "/proc/self/ns/net");
  const std::string path = "/proc/" + std::to_string(container) + "/ns/net";
  UniqueFd inside(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!inside) return Error::Errno("open", path);
  if (setns(inside.get(), CLONE_NEWNET) != 0) return Error::Errno("setns", path);
  Status held = HoldSocket(SOCK_DGRAM, kUdpNameSocket);
  if (held.ok()) held = HoldSocket(SOCK_STREAM, kTcpNameSocket);
  // In the container's namespace the shim would do its further work wrongly.
  if (setns(own.get(), CLONE_NEWNET) != 0) abort();
  return held;
}

}  // namespace starling
