#include "seccomp_agent.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "../base/json.h"
#include "../runtime/sync_socket.h"

namespace starling::oci {

Status TellSeccompAgent(const SeccompConfig& config, const Record& record, int listener) {
  sockaddr_un address;
  std::memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  const std::string& path = config.listener_path;
  if (path.size() >= sizeof address.sun_path) return Error::Errno("linux.seccomp.listenerPath", path, ENAMETOOLONG);
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd connection(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!connection) return Error::Errno("socket", "");
  if (connect(connection.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return Error::Errno("linux.seccomp.listenerPath: connect", path);
  }
  json::Object state;
  state.String("ociVersion", "1.2.0").Raw("fds", R"(["seccompFd"])").Int("pid", record.pid);
  if (!config.listener_metadata.empty()) state.String("metadata", config.listener_metadata);
  state.Raw("state", StateJson(record, Stage::kCreating, record.pid));
  return SendMessage(connection.get(), state.Done(), listener);
}

}  // namespace starling::oci
