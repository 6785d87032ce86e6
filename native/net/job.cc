#include "job.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace starling::net {
namespace {

std::string Describe(const std::string& operation) { return operation + ": " + std::strerror(errno); }

constexpr char kSysfs[] = "/sys/";

// A sysfs of the thread's network namespace: the one at /sys shows the devices of whoever mounted it. Invalid where there is none to be had.
UniqueFd OpenSysfs() {
  const UniqueFd context(static_cast<int>(syscall(SYS_fsopen, "sysfs", FSOPEN_CLOEXEC)));
  if (!context || syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) return UniqueFd();
  return UniqueFd(static_cast<int>(syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0)));
}

UniqueFd OpenSetting(const std::string& path) {
  constexpr int flags = O_WRONLY | O_CLOEXEC;
  if (path.rfind(kSysfs, 0) != 0) return UniqueFd(open(("/proc/sys/" + path).c_str(), flags));
  const UniqueFd root = OpenSysfs();
  if (!root) {
    errno = ENOENT;
    return UniqueFd();
  }
  return UniqueFd(openat(root.get(), path.c_str() + sizeof kSysfs - 1, flags));
}

SysctlResult WriteSysctls(const SysctlStep& step) {
  SysctlResult result;
  for (const auto& setting : step.settings) {
    const std::string& path = setting.path;
    std::string error;
    UniqueFd fd = OpenSetting(path);
    if (!fd) {
      if (errno != ENOENT || !setting.optional) error = Describe("open " + path);
    } else if (write(fd.get(), setting.value.data(), setting.value.size()) < 0) {
      error = Describe("write " + setting.value + " to " + path);
    }
    result.errors.push_back(std::move(error));
  }
  return result;
}

FilesResult ReadFiles(const FilesStep& step) {
  FilesResult result;
  for (const std::string& path : step.paths) {
    std::string text;
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd && errno != ENOENT) throw std::runtime_error(Describe("open " + path));
    char piece[4096];
    ssize_t size = 0;
    while (fd && (size = read(fd.get(), piece, sizeof piece)) > 0) text.append(piece, static_cast<size_t>(size));
    if (size < 0) throw std::runtime_error(Describe("read " + path));
    result.texts.push_back(std::move(text));
  }
  return result;
}

SocketResult BindSocket(const SocketStep& step) {
  const std::string name = (step.tcp ? "tcp " : "udp ") + step.address + ":" + std::to_string(step.port);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(step.port);
  if (inet_pton(AF_INET, step.address.c_str(), &address.sin_addr) != 1) throw std::runtime_error("bad address of " + name);
  UniqueFd fd(socket(AF_INET, (step.tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) throw std::runtime_error(Describe("socket " + name));
  const int on = 1;
  if (step.tcp) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) throw std::runtime_error(Describe("bind " + name));
  if (step.tcp && listen(fd.get(), 64) != 0) throw std::runtime_error(Describe("listen " + name));
  socklen_t length = sizeof address;
  getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length);
  return {std::move(fd), ntohs(address.sin_port)};
}

SocketResult TakeHeld(const HeldStep& step) {
  const std::string name = "descriptor " + std::to_string(step.fd) + " of process " + std::to_string(step.pid);
  const UniqueFd process(static_cast<int>(syscall(SYS_pidfd_open, step.pid, 0)));
  if (!process) throw std::runtime_error(Describe("pidfd_open for " + name));
  UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), step.fd, 0)));
  if (!fd) throw std::runtime_error(Describe("pidfd_getfd for " + name));
  sockaddr_in address{};
  socklen_t length = sizeof address;
  in_addr wanted{};
  inet_pton(AF_INET, step.address.c_str(), &wanted);
  const bool bound = getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) == 0 && address.sin_family == AF_INET;
  if (!bound || address.sin_addr.s_addr != wanted.s_addr) throw std::runtime_error(name + " is no socket at " + step.address);
  return {std::move(fd), ntohs(address.sin_port)};
}

struct Runner {
  StepResult operator()(const NetlinkStep& step) const { return Converse(step.protocol, step.requests, step.session); }
  StepResult operator()(const NftStep& step) const { return RunNft(step.script, step.json, step.session); }
  StepResult operator()(const SysctlStep& step) const { return WriteSysctls(step); }
  StepResult operator()(const FilesStep& step) const { return ReadFiles(step); }
  StepResult operator()(const SocketStep& step) const { return BindSocket(step); }
  StepResult operator()(const HeldStep& step) const { return TakeHeld(step); }
  StepResult operator()(const ConntrackStep& step) const {
    FlushConntrack(step);
    return ConntrackResult{};
  }
  StepResult operator()(const PingStep& step) const { return Outcomes{Ping(step)}; }
  StepResult operator()(const ExchangeStep& step) const { return Outcomes{Exchange(step)}; }
};

}  // namespace

JobResult RunJob(Job& job) {
  JobResult result;
  const UniqueFd netns(job.netns_fd);
  if (netns && setns(netns.get(), CLONE_NEWNET) != 0) {
    result.error = Describe("setns");
    return result;
  }
  if (job.fresh && unshare(CLONE_NEWNET) != 0) {
    result.error = Describe("unshare");
    return result;
  }
  try {
    for (const auto& step : job.steps) result.results.push_back(std::visit(Runner{}, step));
  } catch (const std::exception& error) {
    result.error = error.what();
  }
  return result;
}

}  // namespace starling::net
