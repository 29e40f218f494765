// The parts of the addon. Each adds one object of functions to `exports`; addon.cc calls them all.
#pragma once

#include <node_api.h>

namespace imgfs {

// `exports.fuse`: the FUSE session. Registers nothing on a system without FUSE.
void registerFuse(napi_env env, napi_value exports);

// `exports.archive`: headers of archives on disk.
void registerArchive(napi_env env, napi_value exports);

// `exports.receive`: bodies from connections into files.
void registerReceive(napi_env env, napi_value exports);

// `exports.layer`: random access into compressed layers.
void registerLayer(napi_env env, napi_value exports);

// `exports.thread`: how the kernel's scheduler treats the calling thread.
void registerThread(napi_env env, napi_value exports);

// `exports.folder`: listing folders of the cache.
void registerFolder(napi_env env, napi_value exports);

}  // namespace imgfs
