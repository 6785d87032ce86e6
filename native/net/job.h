// A list of steps, done in order in one network namespace on a thread of its own.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "conntrack.h"
#include "exchange.h"
#include "netlink.h"
#include "nft.h"
#include "ping.h"
#include "unique_fd.h"

namespace starling::net {

struct NetlinkStep {
  int protocol;
  std::vector<uint8_t> requests;
  std::string session;
};
struct NftStep {
  std::string script;
  bool json;
  std::string session;
};
// Writes `value` into /proc/sys/<path>, or into <path> when that is below /sys; `optional` ones may not exist.
struct SysctlStep {
  struct Setting {
    std::string path, value;
    bool optional;
  };
  std::vector<Setting> settings;
};
// Texts of files below /proc, as the namespace has them: of /proc/sys/net, and of /proc/thread-self/net.
struct FilesStep {
  std::vector<std::string> paths;
};
// A bound socket (TCP: listening) whose descriptor is handed to the caller. Port 0 lets the kernel choose.
struct SocketStep {
  bool tcp;
  std::string address;
  uint16_t port;
};
// A copy of the descriptor of a socket that another process holds. Refused unless it is bound to `address`.
struct HeldStep {
  int pid;
  int fd;
  std::string address;
};
using Step = std::variant<NetlinkStep, NftStep, SysctlStep, FilesStep, SocketStep, HeldStep, ConntrackStep, PingStep, ExchangeStep>;

struct SysctlResult {
  std::vector<std::string> errors;  // one per setting, empty when it was written
};
struct FilesResult {
  std::vector<std::string> texts;  // empty where there is no such file
};
struct SocketResult {
  UniqueFd fd;
  uint16_t port = 0;
};
struct ConntrackResult {};
// Of pings and exchanges.
struct Outcomes {
  std::vector<std::string> outcomes;  // one per target, empty when it answered
};
using StepResult = std::variant<Conversation, NftResult, SysctlResult, FilesResult, SocketResult, ConntrackResult, Outcomes>;

struct Job {
  int netns_fd = -1;  // -1: the process's own namespace; owned
  bool fresh = false;  // in a new namespace, which ends with the job
  std::vector<Step> steps;
};
struct JobResult {
  std::vector<StepResult> results;
  std::string error;  // not empty: the job ended early; `results` holds the steps done
};

// Runs `job` on the calling thread, which stays in the namespace for ever and so must end soon after.
// REQUIRES: the calling thread is not one of Node's.
JobResult RunJob(Job& job);

}  // namespace starling::net
