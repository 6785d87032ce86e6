#include "balancer.h"

#include <bpf/libbpf.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <mutex>
#include <optional>
#include <stdexcept>

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

[[noreturn]] void Fail(const std::string& operation) { throw std::runtime_error(operation + ": " + std::strerror(errno)); }

// libbpf.so.1, the part used here: it reads the object file and loads what is in it.
struct Library {
  decltype(&libbpf_set_print) set_print;
  decltype(&bpf_object__open_file) open_file;
  decltype(&bpf_object__load) load;
  decltype(&bpf_object__close) close;
  decltype(&bpf_object__find_map_by_name) find_map;
  decltype(&bpf_object__find_program_by_name) find_program;
  decltype(&bpf_map__fd) map_fd;
  decltype(&bpf_map__reuse_fd) reuse_fd;
  decltype(&bpf_map__type) map_type;
  decltype(&bpf_map__key_size) key_size;
  decltype(&bpf_map__value_size) value_size;
  decltype(&bpf_map__max_entries) max_entries;
  decltype(&bpf_program__fd) program_fd;
};

template <typename F>
void Find(void* handle, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(handle, name));
  if (function == nullptr) throw std::runtime_error(std::string("libbpf.so.1 lacks ") + name);
}

// Library of what libbpf says while it loads; GUARDED_BY(mu).
std::mutex mu;
std::string said;

int Listen(libbpf_print_level level, const char* format, va_list arguments) {
  if (level != LIBBPF_WARN || said.size() > 1000) return 0;
  char line[512];
  vsnprintf(line, sizeof line, format, arguments);
  said += line;
  return 0;
}

Library Load() {
  void* handle = dlopen("libbpf.so.1", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw std::runtime_error("libbpf.so.1 is missing (Debian: libbpf1)");
  Library library;
  Find(handle, "libbpf_set_print", library.set_print);
  Find(handle, "bpf_object__open_file", library.open_file);
  Find(handle, "bpf_object__load", library.load);
  Find(handle, "bpf_object__close", library.close);
  Find(handle, "bpf_object__find_map_by_name", library.find_map);
  Find(handle, "bpf_object__find_program_by_name", library.find_program);
  Find(handle, "bpf_map__fd", library.map_fd);
  Find(handle, "bpf_map__reuse_fd", library.reuse_fd);
  Find(handle, "bpf_map__type", library.map_type);
  Find(handle, "bpf_map__key_size", library.key_size);
  Find(handle, "bpf_map__value_size", library.value_size);
  Find(handle, "bpf_map__max_entries", library.max_entries);
  Find(handle, "bpf_program__fd", library.program_fd);
  library.set_print(Listen);
  return library;
}

const Library& Loaded() {
  static const Library library = Load();
  return library;
}

long Bpf(int command, bpf_attr& attributes) { return syscall(SYS_bpf, command, &attributes, sizeof attributes); }

bpf_attr Attributes() {
  bpf_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  return attributes;
}

uint64_t Pointer(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

UniqueFd FdOf(int command, uint32_t id) {
  bpf_attr attributes = Attributes();
  attributes.prog_id = id;  // One union with map_id.
  return UniqueFd(static_cast<int>(Bpf(command, attributes)));
}

template <typename Info>
bool ReadInfo(int fd, Info& info) {
  bpf_attr attributes = Attributes();
  attributes.info.bpf_fd = static_cast<uint32_t>(fd);
  attributes.info.info_len = sizeof info;
  attributes.info.info = Pointer(&info);
  return Bpf(BPF_OBJ_GET_INFO_BY_FD, attributes) == 0;
}

std::vector<uint32_t> ProgramsAt(int cgroup, bpf_attach_type type) {
  std::array<uint32_t, 64> ids{};  // The kernel allows no more.
  bpf_attr attributes = Attributes();
  attributes.query.target_fd = static_cast<uint32_t>(cgroup);
  attributes.query.attach_type = type;
  attributes.query.prog_ids = Pointer(ids.data());
  attributes.query.prog_cnt = ids.size();
  if (Bpf(BPF_PROG_QUERY, attributes) != 0) Fail("bpf: ask for the control group's programs");
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
  info.map_ids = Pointer(ids.data());
  if (!ReadInfo(program, info)) return {};
  std::vector<FoundMap> maps;
  for (uint32_t i = 0; i < std::min<size_t>(info.nr_map_ids, ids.size()); i++) {
    FoundMap found{{}, FdOf(BPF_MAP_GET_FD_BY_ID, ids[i])};
    if (found.fd && ReadInfo(found.fd.get(), found.info)) maps.push_back(std::move(found));
  }
  return maps;
}

std::array<char, kNodeIdSize> OwnerText(const std::string& node_id) {
  std::array<char, kNodeIdSize> text{};
  node_id.copy(text.data(), text.size());
  return text;
}

long MapCall(int command, int map, const void* key, void* value) {
  bpf_attr attributes = Attributes();
  attributes.map_fd = static_cast<uint32_t>(map);
  attributes.key = Pointer(key);
  attributes.value = Pointer(value);
  return Bpf(command, attributes);
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
  bpf_attr attributes = Attributes();
  attributes.target_fd = static_cast<uint32_t>(cgroup);
  attributes.attach_bpf_fd = static_cast<uint32_t>(program);
  attributes.attach_type = type;
  if (Bpf(BPF_PROG_DETACH, attributes) == 0) return true;
  if (errno != ENOENT) Fail("bpf: detach from hook " + std::to_string(type));
  return false;
}

void DetachFormer(int cgroup, bpf_attach_type type, const std::string& node_id) {
  while (const auto program = FormerProgram(cgroup, type, node_id))
    if (!DetachProgram(cgroup, type, program->get())) return;
}

UniqueFd OpenGroup(const std::string& cgroup) {
  UniqueFd folder(open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder) Fail("open " + cgroup);
  return folder;
}

class LoadedBalancer final : public Balancer {
 public:
  explicit LoadedBalancer(const std::string& cgroup) : library_(Loaded()), cgroup_(OpenGroup(cgroup)) {}
  ~LoadedBalancer() override {
    if (object_ != nullptr) library_.close(object_);
  }

  // All of it or nothing.
  void Start(const std::string& object, const std::string& node_id) {
    LoadObject(object, node_id);
    try {
      for (const Hook& hook : kHooks) Attach(hook, node_id);
      for (const bpf_attach_type type : kFormerHooks) DetachFormer(cgroup_.get(), type, node_id);
    } catch (const std::exception&) {
      Detach();
      throw;
    }
  }

  void Change(const std::vector<uint8_t>& changes) override {
    const uint8_t* at = changes.data();
    const uint8_t* const end = at + changes.size();
    while (end - at >= 2) {
      const bool set = at[0] == 1;
      const Map& map = maps_.at(at[1]);
      const uint8_t* key = at + 2;
      const uint8_t* value = key + map.key_size;
      at = value + (set ? map.value_size : 0);
      if (at > end) throw std::runtime_error("bpf: a change of a map is cut short");
      const long done = set ? MapCall(BPF_MAP_UPDATE_ELEM, map.fd, key, const_cast<uint8_t*>(value))
                            : MapCall(BPF_MAP_DELETE_ELEM, map.fd, key, nullptr);
      if (done != 0 && (set || errno != ENOENT)) Fail(std::string("bpf: change map ") + map.name);
    }
  }

  std::vector<uint8_t> Read(unsigned number) override {
    const Map& map = maps_.at(number);
    std::vector<uint8_t> all;
    std::vector<uint8_t> entry(map.key_size + map.value_size);
    const uint8_t* previous = nullptr;
    std::vector<uint8_t> key(map.key_size);
    while (MapCall(BPF_MAP_GET_NEXT_KEY, map.fd, previous, entry.data()) == 0) {
      key.assign(entry.begin(), entry.begin() + map.key_size);
      previous = key.data();
      if (MapCall(BPF_MAP_LOOKUP_ELEM, map.fd, key.data(), entry.data() + map.key_size) != 0) continue;
      all.insert(all.end(), entry.begin(), entry.end());
    }
    return all;
  }

  bool IsAttached() override {
    return std::all_of(std::begin(kHooks), std::end(kHooks), [&](const Hook& hook) {
      bpf_prog_info info{};
      if (!ReadInfo(ProgramFd(hook), info)) return false;
      const std::vector<uint32_t> there = ProgramsAt(cgroup_.get(), hook.type);
      return std::find(there.begin(), there.end(), info.id) != there.end();
    });
  }

  void Detach() override {
    for (const Hook& hook : kHooks) DetachProgram(cgroup_.get(), hook.type, ProgramFd(hook));
  }

 private:
  struct Map {
    const char* name;
    int fd;
    uint32_t key_size, value_size;
  };

  void LoadObject(const std::string& path, const std::string& node_id) {
    const std::lock_guard<std::mutex> lock(mu);
    said.clear();
    object_ = library_.open_file(path.c_str(), nullptr);
    if (object_ == nullptr) Fail("bpf: open " + path);
    std::vector<FoundMap> former;
    if (const auto program = FormerProgram(cgroup_.get(), kHooks[0].type, node_id)) former = MapsOf(program->get());
    for (const char* name : kFilledMaps) Reuse(name, former);
    for (const char* name : kOtherMaps) Reuse(name, former);
    if (library_.load(object_) != 0) Fail("bpf: load" + (said.empty() ? "" : " (" + said.substr(0, said.find('\n')) + ")"));
    for (const Hook& hook : kHooks) {
      for (const char* name : kFilledMaps) Bind(hook, name);
      for (const char* name : kOtherMaps) Bind(hook, name);
    }
    for (const char* name : kFilledMaps) {
      const bpf_map* map = library_.find_map(object_, name);
      maps_.push_back({name, library_.map_fd(map), library_.key_size(map), library_.value_size(map)});
    }
    const uint32_t first = 0;
    auto owner = OwnerText(node_id);
    if (MapCall(BPF_MAP_UPDATE_ELEM, library_.map_fd(library_.find_map(object_, "owner")), &first, owner.data()) != 0) Fail("bpf: owner");
  }

  // One of another make than ours is left behind with its entries.
  void Reuse(const char* name, const std::vector<FoundMap>& former) {
    bpf_map* map = library_.find_map(object_, name);
    if (map == nullptr) throw std::runtime_error(std::string("bpf: the object has no map ") + name);
    for (const FoundMap& found : former) {
      const bpf_map_info& info = found.info;
      const bool same = info.type == library_.map_type(map) && info.key_size == library_.key_size(map) &&
                        info.value_size == library_.value_size(map) && info.max_entries == library_.max_entries(map);
      if (std::strcmp(info.name, name) != 0 || !same) continue;
      if (library_.reuse_fd(map, found.fd.get()) != 0) Fail(std::string("bpf: take over map ") + name);
      return;
    }
  }

  // Has the program hold the map, used or not: by one program all maps are found again.
  void Bind(const Hook& hook, const char* name) {
    bpf_attr attributes = Attributes();
    attributes.prog_bind_map.prog_fd = static_cast<uint32_t>(ProgramFd(hook));
    attributes.prog_bind_map.map_fd = static_cast<uint32_t>(library_.map_fd(library_.find_map(object_, name)));
    if (Bpf(BPF_PROG_BIND_MAP, attributes) != 0) Fail(std::string("bpf: bind map ") + name);
  }

  int ProgramFd(const Hook& hook) const { return library_.program_fd(library_.find_program(object_, hook.program)); }

  void Attach(const Hook& hook, const std::string& node_id) {
    const auto former = FormerProgram(cgroup_.get(), hook.type, node_id);
    bpf_attr attributes = Attributes();
    attributes.target_fd = static_cast<uint32_t>(cgroup_.get());
    attributes.attach_bpf_fd = static_cast<uint32_t>(ProgramFd(hook));
    attributes.attach_type = hook.type;
    attributes.attach_flags = BPF_F_ALLOW_MULTI | (former ? BPF_F_REPLACE : 0u);
    if (former) attributes.replace_bpf_fd = static_cast<uint32_t>(former->get());
    if (Bpf(BPF_PROG_ATTACH, attributes) != 0) Fail(std::string("bpf: attach ") + hook.program);
  }

  const Library& library_;
  UniqueFd cgroup_;
  bpf_object* object_ = nullptr;
  std::vector<Map> maps_;
};

}  // namespace

std::unique_ptr<Balancer> Balancer::Open(const std::string& object, const std::string& cgroup, const std::string& node_id) {
  auto balancer = std::make_unique<LoadedBalancer>(cgroup);
  balancer->Start(object, node_id);
  return balancer;
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
  if (getsockopt(socket, SOL_SOCKET, kNetnsCookie, &cookie, &size) != 0) Fail("getsockopt SO_NETNS_COOKIE");
  return cookie;
}

}  // namespace starling::net
