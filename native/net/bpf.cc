#include "bpf.h"

#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <stdexcept>

namespace starling::net {
namespace {

// The part of libbpf.so.1 used here: it reads the object file and loads what is in it.
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

// One object is opened or loaded at a time.
std::mutex mu;
std::string said;  // what libbpf said meanwhile; GUARDED_BY(mu)

int Listen(libbpf_print_level level, const char* format, va_list arguments) {
  if (level != LIBBPF_WARN || said.size() > 1000) return 0;
  char line[512];
  vsnprintf(line, sizeof line, format, arguments);
  said += line;
  return 0;
}

Library LoadLibrary() {
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

const Library& Libbpf() {
  static const Library library = LoadLibrary();
  return library;
}

}  // namespace

void FailBpf(const std::string& operation) { throw std::runtime_error(operation + ": " + std::strerror(errno)); }

bpf_attr BpfAttributes() {
  bpf_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  return attributes;
}

long Bpf(int command, bpf_attr& attributes) { return syscall(SYS_bpf, command, &attributes, sizeof attributes); }

uint64_t BpfPointer(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

long MapCall(int command, int map, const void* key, void* value) {
  bpf_attr attributes = BpfAttributes();
  attributes.map_fd = static_cast<uint32_t>(map);
  attributes.key = BpfPointer(key);
  attributes.value = BpfPointer(value);
  return Bpf(command, attributes);
}

BpfObject::BpfObject(const std::string& path) {
  const Library& library = Libbpf();
  const std::lock_guard<std::mutex> lock(mu);
  object_ = library.open_file(path.c_str(), nullptr);
  if (object_ == nullptr) FailBpf("bpf: open " + path);
}

BpfObject::~BpfObject() { Libbpf().close(object_); }

void BpfObject::Reuse(const char* name, const bpf_map_info& info, int fd) {
  const Library& library = Libbpf();
  bpf_map* map = Map(name);
  const bool same = info.type == library.map_type(map) && info.key_size == library.key_size(map) &&
                    info.value_size == library.value_size(map) && info.max_entries == library.max_entries(map);
  if (same && library.reuse_fd(map, fd) != 0) FailBpf(std::string("bpf: take over map ") + name);
}

void BpfObject::Load() {
  const std::lock_guard<std::mutex> lock(mu);
  said.clear();
  if (Libbpf().load(object_) != 0) FailBpf("bpf: load" + (said.empty() ? "" : " (" + said.substr(0, said.find('\n')) + ")"));
}

int BpfObject::ProgramFd(const char* name) const {
  const bpf_program* program = Libbpf().find_program(object_, name);
  if (program == nullptr) throw std::runtime_error(std::string("bpf: the object has no program ") + name);
  return Libbpf().program_fd(program);
}

int BpfObject::MapFd(const char* name) const { return Libbpf().map_fd(Map(name)); }

bpf_map* BpfObject::Map(const char* name) const {
  bpf_map* map = Libbpf().find_map(object_, name);
  if (map == nullptr) throw std::runtime_error(std::string("bpf: the object has no map ") + name);
  return map;
}

FilledMaps::FilledMaps(const BpfObject& object, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const int fd = object.MapFd(name.c_str());
    bpf_map_info info{};
    if (!ReadBpfInfo(fd, info)) FailBpf("bpf: look at map " + name);
    maps_.push_back({name, fd, info.key_size, info.value_size});
  }
}

void FilledMaps::Change(const std::vector<uint8_t>& changes) const {
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
    if (done != 0 && (set || errno != ENOENT)) FailBpf("bpf: change map " + map.name);
  }
}

std::vector<uint8_t> FilledMaps::Read(unsigned number) const {
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

}  // namespace starling::net
