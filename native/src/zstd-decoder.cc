// zstd through libzstd, loaded when it is first needed: no build needs it, and imgfs runs without it.
#include <dlfcn.h>

#include <mutex>

#include "decoder.h"

namespace imgfs {

namespace {

// From zstd.h; stable since 1.0 (2016).
struct InBuffer {
  const void* src;
  size_t size;
  size_t pos;
};
struct OutBuffer {
  void* dst;
  size_t size;
  size_t pos;
};

struct Library {
  void* (*create)() = nullptr;
  size_t (*free)(void*) = nullptr;
  size_t (*init)(void*) = nullptr;
  size_t (*decompress)(void*, OutBuffer*, InBuffer*) = nullptr;
  unsigned (*isError)(size_t) = nullptr;
  const char* (*errorName)(size_t) = nullptr;
  bool ready = false;
};

template <typename T>
bool find(void* handle, const char* name, T& into) {
  into = reinterpret_cast<T>(dlsym(handle, name));
  return into != nullptr;
}

const Library& library() {
  static Library loaded;
  static std::once_flag once;
  std::call_once(once, [] {
    for (const char* name : {"libzstd.so.1", "libzstd.so", "libzstd.1.dylib", "libzstd.dylib"}) {
      void* handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
      if (handle == nullptr) continue;
      loaded.ready = find(handle, "ZSTD_createDStream", loaded.create) &&
                     find(handle, "ZSTD_freeDStream", loaded.free) &&
                     find(handle, "ZSTD_initDStream", loaded.init) &&
                     find(handle, "ZSTD_decompressStream", loaded.decompress) &&
                     find(handle, "ZSTD_isError", loaded.isError) &&
                     find(handle, "ZSTD_getErrorName", loaded.errorName);
      if (loaded.ready) return;
      dlclose(handle);
    }
  });
  return loaded;
}

class ZstdDecoder final : public Decoder {
 public:
  ZstdDecoder() : stream_(library().create()) {}
  ~ZstdDecoder() override {
    if (stream_ != nullptr) library().free(stream_);
  }
  ZstdDecoder(const ZstdDecoder&) = delete;
  ZstdDecoder& operator=(const ZstdDecoder&) = delete;

  bool begin(const Start& start, uint8_t) override {
    produced_ = 0;
    between_ = true;
    if (stream_ != nullptr && start.kind == StartKind::fresh && !library().isError(library().init(stream_))) {
      return true;
    }
    error_ = "cannot start a zstd frame";
    return false;
  }

  Event run(const uint8_t*& in, size_t& inLength, uint8_t*& out, size_t& outLength) override {
    if (inLength == 0 && !hasPending_) return Event::none;
    if (between_ && inLength > 0) {
      between_ = false;
      produced_ = 0;
    }
    InBuffer input{in, inLength, 0};
    OutBuffer output{out, outLength, 0};
    const size_t result = library().decompress(stream_, &output, &input);
    if (library().isError(result)) {
      error_ = library().errorName(result);
      return Event::error;
    }
    addToCrc(out, output.pos);
    in += input.pos;
    inLength -= input.pos;
    out += output.pos;
    outLength -= output.pos;
    produced_ += output.pos;
    hasPending_ = output.pos == output.size && result != 0;
    if (result != 0) return Event::none;
    between_ = true;
    return Event::boundary;
  }

  bool atEnd() const override { return between_; }
  uint64_t producedInUnit() const override { return produced_; }

 private:
  void* stream_;
  bool between_ = true;
  bool hasPending_ = false;
  uint64_t produced_ = 0;
};

}  // namespace

bool hasZstd() { return library().ready; }

std::unique_ptr<Decoder> makeZstdDecoder() {
  return hasZstd() ? std::make_unique<ZstdDecoder>() : nullptr;
}

}  // namespace imgfs
