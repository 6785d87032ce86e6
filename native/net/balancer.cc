#include "balancer.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <vector>

namespace starling::net {
namespace {

// In the order that changes number them in.
constexpr const char* kFilledMaps[] = {"networks_of", "services", "slots", "sticky"};
// Kept from one process to the next, too.
constexpr const char* kOtherMaps[] = {"connections", "owner"};

struct Hook {
  const char* program;
  bpf_attach_type type;
};
constexpr Hook kHooks[] = {
    {"starling_connect4", BPF_CGROUP_INET4_CONNECT},       {"starling_connect6", BPF_CGROUP_INET6_CONNECT},
    {"starling_getpeername4", BPF_CGROUP_INET4_GETPEERNAME}, {"starling_getpeername6", BPF_CGROUP_INET6_GETPEERNAME},
};
// Where programs of a former make may be: they are taken off.
constexpr bpf_attach_type kFormerHooks[] = {BPF_CGROUP_UDP4_SENDMSG, BPF_CGROUP_UDP6_SENDMSG, BPF_CGROUP_UDP4_RECVMSG,
                                            BPF_CGROUP_UDP6_RECVMSG};
constexpr size_t kNodeIdSize = 32;

UniqueFd FdOf(int command, uint32_t id) {
  bpf_attr attributes = BpfAttributes();
  attributes.prog_id = id;  // One union with map_id.
  return UniqueFd(static_cast<int>(Bpf(command, attributes)));
}

std::vector<uint32_t> ProgramsAt(int cgroup, bpf_attach_type type) {
  std::array<uint32_t, 64> ids{};  // The kernel allows no more.
  bpf_attr attributes = BpfAttributes();
  attributes.query.target_fd = static_cast<uint32_t>(cgroup);
  attributes.query.attach_type = type;
  attributes.query.prog_ids = BpfPointer(ids.data());
  attributes.query.prog_cnt = ids.size();
  if (Bpf(BPF_PROG_QUERY, attributes) != 0) FailBpf("bpf: ask for the control group's programs");
  return {ids.begin(), ids.begin() + attributes.query.prog_cnt};
}

struct FoundMap {
  bpf_map_info info;
  UniqueFd fd;
};

std::vector<FoundMap> MapsOf(int program) {
  std::array<uint32_t, 16> ids{};
  bpf_prog_info info{};
  info.nr_map_ids = ids.size();
  info.map_ids = BpfPointer(ids.data());
  if (!ReadBpfInfo(program, info)) return {};
  std::vector<FoundMap> maps;
  for (uint32_t i = 0; i < std::min<size_t>(info.nr_map_ids, ids.size()); i++) {
    FoundMap found{{}, FdOf(BPF_MAP_GET_FD_BY_ID, ids[i])};
    if (found.fd && ReadBpfInfo(found.fd.get(), found.info)) maps.push_back(std::move(found));
  }
  return maps;
}

std::array<char, kNodeIdSize> OwnerText(const std::string& node_id) {
  std::array<char, kNodeIdSize> text{};
  node_id.copy(text.data(), text.size());
  return text;
}

bool IsOwnedBy(const std::vector<FoundMap>& maps, const std::string& node_id) {
  return std::any_of(maps.begin(), maps.end(), [&](const FoundMap& map) {
    if (std::strcmp(map.info.name, "owner") != 0 || map.info.value_size != kNodeIdSize) return false;
    const uint32_t first = 0;
    std::array<char, kNodeIdSize> text{};
    return MapCall(BPF_MAP_LOOKUP_ELEM, map.fd.get(), &first, text.data()) == 0 && text == OwnerText(node_id);
  });
}

// The program at the hook whose maps say that they are the node's.
std::optional<UniqueFd> FormerProgram(int cgroup, bpf_attach_type type, const std::string& node_id) {
  for (const uint32_t id : ProgramsAt(cgroup, type)) {
    UniqueFd program = FdOf(BPF_PROG_GET_FD_BY_ID, id);
    if (program && IsOwnedBy(MapsOf(program.get()), node_id)) return program;
  }
  return std::nullopt;
}

// Whether it was there; what someone else took off meanwhile is off.
bool DetachProgram(int cgroup, bpf_attach_type type, int program) {
  bpf_attr attributes = BpfAttributes();
  attributes.target_fd = static_cast<uint32_t>(cgroup);
  attributes.attach_bpf_fd = static_cast<uint32_t>(program);
  attributes.attach_type = type;
  if (Bpf(BPF_PROG_DETACH, attributes) == 0) return true;
  if (errno != ENOENT) FailBpf("bpf: detach from hook " + std::to_string(type));
  return false;
}

void DetachFormer(int cgroup, bpf_attach_type type, const std::string& node_id) {
  while (const auto program = FormerProgram(cgroup, type, node_id))
    if (!DetachProgram(cgroup, type, program->get())) return;
}

UniqueFd OpenGroup(const std::string& cgroup) {
  UniqueFd folder(open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) FailBpf("open " + cgroup);
  return folder;
}

class LoadedBalancer final : public Balancer {
 public:
  LoadedBalancer(const std::string& object, const std::string& cgroup, const std::string& node_id)
      : cgroup_(OpenGroup(cgroup)), object_(object) {
    LoadObject(node_id);
    maps_.emplace(object_, std::vector<std::string>(std::begin(kFilledMaps), std::end(kFilledMaps)));
    // All of it or nothing.
    try {
      for (const Hook& hook : kHooks) Attach(hook, node_id);
      for (const bpf_attach_type type : kFormerHooks) DetachFormer(cgroup_.get(), type, node_id);
    } catch (const std::exception&) {
      LoadedBalancer::Detach();
      throw;
    }
  }

  const FilledMaps& maps() const override { return *maps_; }

  bool IsAttached() override {
    return std::all_of(std::begin(kHooks), std::end(kHooks), [&](const Hook& hook) {
      bpf_prog_info info{};
      if (!ReadBpfInfo(object_.ProgramFd(hook.program), info)) return false;
      const std::vector<uint32_t> there = ProgramsAt(cgroup_.get(), hook.type);
      return std::find(there.begin(), there.end(), info.id) != there.end();
    });
  }

  void Detach() override {
    for (const Hook& hook : kHooks) DetachProgram(cgroup_.get(), hook.type, object_.ProgramFd(hook.program));
  }

 private:
  void LoadObject(const std::string& node_id) {
    std::vector<FoundMap> former;
    if (const auto program = FormerProgram(cgroup_.get(), kHooks[0].type, node_id)) former = MapsOf(program->get());
    for (const char* name : kFilledMaps) Reuse(name, former);
    for (const char* name : kOtherMaps) Reuse(name, former);
    object_.Load();
    for (const Hook& hook : kHooks) {
      for (const char* name : kFilledMaps) Bind(hook, name);
      for (const char* name : kOtherMaps) Bind(hook, name);
    }
    const uint32_t first = 0;
    auto owner = OwnerText(node_id);
    if (MapCall(BPF_MAP_UPDATE_ELEM, object_.MapFd("owner"), &first, owner.data()) != 0) FailBpf("bpf: owner");
  }

  // One of another make than ours is left behind with its entries.
  void Reuse(const char* name, const std::vector<FoundMap>& former) {
    for (const FoundMap& found : former)
      if (std::strcmp(found.info.name, name) == 0) return object_.Reuse(name, found.info, found.fd.get());
  }

  // Has the program hold the map, used or not: by one program all maps are found again.
  void Bind(const Hook& hook, const char* name) {
    bpf_attr attributes = BpfAttributes();
    attributes.prog_bind_map.prog_fd = static_cast<uint32_t>(object_.ProgramFd(hook.program));
    attributes.prog_bind_map.map_fd = static_cast<uint32_t>(object_.MapFd(name));
    if (Bpf(BPF_PROG_BIND_MAP, attributes) != 0) FailBpf(std::string("bpf: bind map ") + name);
  }

  void Attach(const Hook& hook, const std::string& node_id) {
    const auto former = FormerProgram(cgroup_.get(), hook.type, node_id);
    bpf_attr attributes = BpfAttributes();
    attributes.target_fd = static_cast<uint32_t>(cgroup_.get());
    attributes.attach_bpf_fd = static_cast<uint32_t>(object_.ProgramFd(hook.program));
    attributes.attach_type = hook.type;
    attributes.attach_flags = BPF_F_ALLOW_MULTI | (former ? BPF_F_REPLACE : 0u);
    if (former) attributes.replace_bpf_fd = static_cast<uint32_t>(former->get());
    if (Bpf(BPF_PROG_ATTACH, attributes) != 0) FailBpf(std::string("bpf: attach ") + hook.program);
  }

  UniqueFd cgroup_;
  BpfObject object_;
  std::optional<FilledMaps> maps_;  // once it is loaded
};

}  // namespace

std::unique_ptr<Balancer> Balancer::Open(const std::string& object, const std::string& cgroup, const std::string& node_id) {
  return std::make_unique<LoadedBalancer>(object, cgroup, node_id);
}

void Balancer::Remove(const std::string& cgroup, const std::string& node_id) {
  const UniqueFd folder = OpenGroup(cgroup);
  for (const Hook& hook : kHooks) DetachFormer(folder.get(), hook.type, node_id);
  for (const bpf_attach_type type : kFormerHooks) DetachFormer(folder.get(), type, node_id);
}

uint64_t NetnsCookie(int socket) {
  constexpr int kNetnsCookie = 71;  // SO_NETNS_COOKIE, absent from older headers.
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (getsockopt(socket, SOL_SOCKET, kNetnsCookie, &cookie, &size) != 0) FailBpf("getsockopt SO_NETNS_COOKIE");
  return cookie;
}

}  // namespace starling::net
