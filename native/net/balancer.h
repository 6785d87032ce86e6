// The programs of balancer.bpf.c at a control group, and their maps. They outlive this process: who comes after it with the
// same node id takes the maps over, with all that is in them, and replaces the programs by its own at once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "bpf.h"

namespace starling::net {

class Balancer {
 public:
  // Loads the programs (`object`: compiled balancer.bpf.c) and attaches them to `cgroup`, a folder of cgroup v2, beside those of
  // others. Throws std::runtime_error when the kernel, libbpf or the group does not let us.
  static std::unique_ptr<Balancer> Open(const std::string& object, const std::string& cgroup, const std::string& node_id);

  // Takes programs of the node off `cgroup` that a former process left there. Needs no libbpf. Throws as Open.
  static void Remove(const std::string& cgroup, const std::string& node_id);

  virtual ~Balancer() = default;

  virtual const FilledMaps& maps() const = 0;

  // Whether every program is still where Open put it.
  virtual bool IsAttached() = 0;

  // Takes the programs off the control group.
  virtual void Detach() = 0;
};

// Of the network namespace in which a socket was made; throws before kernel 5.14.
uint64_t NetnsCookie(int socket);

}  // namespace starling::net
