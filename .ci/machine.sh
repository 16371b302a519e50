# What the tests need of a Debian machine beside Node: a browser, software Vulkan (lavapipe of Mesa 24 or newer;
# Mesa 22 of Debian 12 gives Dawn no adapter), a BLAS, and a C compiler for libraries that are wrong on purpose. Sourced by .ci/run.

has_browser() { [ -n "${LOWRANK_CHROMIUM:-}" ] || command -v chromium > /dev/null; }

# 25.0.7-2~bpo12+1
mesa_version() { dpkg-query -W -f '${Version}' mesa-vulkan-drivers 2> /dev/null || echo none; }
is_new() { [[ "$1" =~ ^([0-9]+:)?([0-9]+)\. ]] && [ "${BASH_REMATCH[2]}" -ge 24 ]; }

# The description of lavapipe for the Vulkan loader; its name has the machine's architecture in newer Mesa.
lavapipe() { find /usr/share/vulkan/icd.d -name 'lvp_icd*.json' 2> /dev/null | sort | head -n 1; }

# A driver that was named by hand is taken as it is.
has_vulkan() {
  [ -n "${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-}}" ] || { [ -n "$(lavapipe)" ] && is_new "$(mesa_version)"; }
}

# The old and the new name of the variable: the loader of Debian 12 knows the old one.
use_vulkan() {
  local driver="${VK_DRIVER_FILES:-${VK_ICD_FILENAMES:-$(lavapipe)}}"
  export VK_DRIVER_FILES="$driver" VK_ICD_FILENAMES="$driver"
}

has_blas() { [ -n "${LOWRANK_BLAS:-}" ] || ldconfig -p | grep -q 'libopenblas\.so\.0'; }
has_compiler() { command -v gcc > /dev/null || command -v cc > /dev/null || command -v clang > /dev/null; }

can_install() { [ "$(id -u)" -eq 0 ] && command -v apt-get > /dev/null; }

# Writes a source for the backports of a release, at the address and with the keys of the release's own source, in
# whichever form of apt's files that is.
add_backports() {
  local codename="$1" suite="$1-backports" sources=/etc/apt/sources.list.d/lowrank-backports
  if grep -rqsE "^[^#]*\b$suite\b" /etc/apt/sources.list /etc/apt/sources.list.d; then return 0; fi
  local file stanza
  for file in /etc/apt/sources.list.d/*.sources; do
    [ -f "$file" ] || continue
    # The first stanza that serves the release itself, its suites replaced.
    stanza="$(awk -v codename="$codename" -v suite="$suite" '
      BEGIN { RS = ""; FS = "\n" }
      { serves = 0; text = ""
        for (i = 1; i <= NF; i++) {
          if ($i ~ /^#/) continue
          if ($i ~ /^[Ee]nabled: *no/) next
          if ($i ~ /^[Ss]uites:/) {
            n = split($i, words, /[ \t]+/)
            for (w = 2; w <= n; w++) if (words[w] == codename) serves = 1
            text = text "Suites: " suite "\n"
          } else text = text $i "\n"
        }
        if (serves) { printf "%s", text; exit }
      }' "$file")"
    if [ -n "$stanza" ]; then
      printf '%s\n' "$stanza" > "$sources.sources"
      return 0
    fi
  done
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ -f "$file" ] || continue
    # deb [options] address release components
    stanza="$(sed -nE "s/^(deb([[:space:]]+\[[^]]*\])?[[:space:]]+[^[:space:]]+[[:space:]]+)$codename([[:space:]].*)$/\1$suite\3/p" "$file" | head -n 1)"
    if [ -n "$stanza" ]; then
      printf '%s\n' "$stanza" > "$sources.list"
      return 0
    fi
  done
  echo "ci: expected a source of $codename in /etc/apt, got none that could be read" >&2
  return 1
}

install() { timeout 5m apt-get install -y -qq --no-install-recommends "$@" > /dev/null; }

# Installs what is missing, with one update of apt's lists.
install_machine() {
  export DEBIAN_FRONTEND=noninteractive
  local codename packages=()
  codename="$(. /etc/os-release && echo "${VERSION_CODENAME:-}")"
  echo "> installing what the tests need of chromium, software Vulkan, OpenBLAS and gcc"
  if [ "$codename" = bookworm ] && ! has_vulkan; then add_backports "$codename" || return 1; fi
  timeout 4m apt-get update -qq || return 1
  if ! has_browser; then packages+=(chromium); fi
  if ! has_blas; then packages+=(libopenblas0-pthread); fi
  if ! has_compiler; then packages+=(gcc libc6-dev); fi
  if ! has_vulkan; then
    if [ "$codename" = bookworm ]; then
      install -t "$codename-backports" mesa-vulkan-drivers libvulkan1 || return 1
    else
      packages+=(mesa-vulkan-drivers libvulkan1)
    fi
  fi
  if [ ${#packages[@]} -gt 0 ]; then install "${packages[@]}"; fi
}

# What fetches the models of the tests.
install_pip() {
  export DEBIAN_FRONTEND=noninteractive
  timeout 4m apt-get update -qq && install python3 python3-pip
}
