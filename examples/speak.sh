#!/usr/bin/env bash
# Speak a text through the job API with curl and jq; handles every end that a job can have.
#
#     VOXGATE_API_KEY=... bash examples/speak.sh "Hello from a shell." hello.mp3
#     VOXGATE_API_KEY=... bash examples/speak.sh --job ID hello.mp3      wait for a job that was submitted before
set -euo pipefail
base="${VOXGATE_URL:-http://127.0.0.1:8000}/v2/${ENDPOINT_ID:-example}"
target=${!#}

# Send one request and print the answer's body. Fails, which ends the script, if the status is not 200.
call() {
    local answer status
    answer=$(curl -sS --retry 4 -w '\n%{http_code}' -H "Authorization: Bearer $VOXGATE_API_KEY" "$@")
    status=${answer##*$'\n'}
    if [ "$status" != 200 ]; then
        echo "$status: $(echo "${answer%$'\n'*}" | jq -r .error)" >&2
        return 1
    fi
    echo "${answer%$'\n'*}"
}

if [ "$1" = --job ]; then
    id=$2
else
    id=$(jq -n --arg text "$1" --arg format "${target##*.}" '{input: {$text, $format}}' | call --json @- "$base/run" | jq -r .id)
fi

while true; do
    job=$(call "$base/status-sync/$id?wait=20000") # held until the end, or for 20 seconds
    status=$(echo "$job" | jq -r .status)
    case $status in
        COMPLETED) break ;;
        IN_QUEUE | IN_PROGRESS) ;;
        *) # FAILED, CANCELLED, TIMED_OUT
            echo "$status: $(echo "$job" | jq -r '.error // "no reason given"')" >&2
            exit 1
            ;;
    esac
done

curl -sS --fail -o "$target" "$(echo "$job" | jq -r .output.audio_url)"
echo "$target: $(wc -c <"$target") bytes"
