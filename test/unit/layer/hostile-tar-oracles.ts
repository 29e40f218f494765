/**
 * Where GNU tar and Python's tarfile list something else than we do, and why we do not follow them. What runtimes
 * unpack with, Go's archive/tar, is the measure.
 */
type Reasons = readonly (readonly [names: RegExp, reason: string])[];

const both: Reasons = [
  [/^the root by /, 'they list a file in place of the root, which nobody can unpack'],
  [/^a (part|path) that is too long/, 'they list a name that nobody can unpack'],
  [/^a NUL in a/, 'they cut the name at the NUL, or keep it: an archive that means two things is refused'],
  [
    /^an empty (long name|name of)/,
    'the name of the header block holds when the longer one is empty, as in Go',
  ],
  [/ made of (a minus sign|blanks|a blank inside)$/, 'they guess what a malformed number means'],
  [/ made of (a negative number|all bits set|a number of 64 bits)/, 'their own limits for numbers'],
  [/^(major|minor) made of /, 'they read device numbers of devices only'],
  [/^PAX (size|uid|gid|mtime)( |:)/, 'they warn about a malformed number and take another'],
  [/^PAX with /, 'they guess what a malformed record means'],
  [/^type |^a header inside an unknown entry/, 'they unpack unknown types as files; runtimes refuse them'],
  [/^a header inside a global header/, 'they look into global headers'],
  [/^a size on a /, 'they skip data that such entries cannot have; runtimes do not'],
  [/^a global header with /, 'they apply global headers; runtimes ignore them'],
  [/^an archive cut/, 'an archive may lack padding and end mark, but no part of a block, as in Go'],
  [/^an extended header and then/, 'Go takes the end for the end'],
  [/^(one zero block|a wrong checksum behind)/, 'they stop quietly, and hide what follows'],
  [/^a symbolic link that is long/, 'they list a link that nobody can make'],
  [/^a(n old)? sparse (map|file|name)/, 'they look at a map only when they unpack, and in whole blocks'],
  [/^an old sparse entry/, 'they read the map of any entry'],
];

export const gnuDiffers: Reasons = both;

export const pythonDiffers: Reasons = both;

/** Where `rootfs/` shows something else than umoci unpacks: most often umoci gives up the layer for one entry. */
export const umociDiffers: Reasons = [
  [/^the root by /, 'it refuses the layer; the entry is left out here, with a note'],
  [/^a (part|path) that is too long/, 'it refuses the layer; the entry is left out here, with a note'],
  [/^the longest path/, 'its folder is a part of the path, and so longer than a path may be'],
  [/^an empty name of a file/, 'it refuses the layer; the entry is left out here, with a note'],
  [/^a hard link |^a size on a hard link/, 'it refuses the layer for a link to nothing; it is left out here'],
  [/^a symbolic link that is long/, 'it refuses the layer; the entry is left out here, with a note'],
  [/^a symbolic link that is empty/, 'it refuses the layer; a link to nothing is shown here as it is'],
  [/^type |^a header inside an unknown entry/, 'it refuses the layer; containerd skips such entries'],
  [
    /^a header inside a global header|^a global header with /,
    'it refuses global headers; containerd skips them',
  ],
  [/^an archive cut inside an extended header/, 'it takes the end for the end'],
  [
    /^together: (through a link to itself|through two links|a file below|a hard link (through|to a|in place|before))/,
    'it refuses the layer for one entry that cannot be made; here that is left out, or takes the place of a file above it',
  ],
  [/^a sparse file of 4 PiB/, 'it would write it out'],
  [/^an old sparse map$/, 'it knows no old sparse files; containerd does'],
];
