#!/usr/bin/env bash
# Submit a text, poll until it is spoken, decode the audio; needs curl and jq.

BASE_URL=${BASE_URL:-http://127.0.0.1:8000/v2/70sq2akye030kh}

JOB=$(curl -s -X POST "$BASE_URL/run" \
  -H "Authorization: Bearer $RUNPOD_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{"input": {"text": "Hello! This is a test from a shell.", "format": "mp3", "speed": 1.0}}')
JOB_ID=$(echo "$JOB" | jq -r '.id')
echo "submitted $JOB_ID"

while true; do
  JOB=$(curl -s "$BASE_URL/status/$JOB_ID" -H "Authorization: Bearer $RUNPOD_API_KEY")
  STATUS=$(echo "$JOB" | jq -r '.status')
  echo "$STATUS"
  if [ "$STATUS" == "COMPLETED" ]; then
    echo "$JOB" | jq -r '.output.audio_base64' | base64 -d > output.mp3
    break
  elif [ "$STATUS" == "FAILED" ]; then
    echo "$JOB" | jq '.'
    exit 1
  fi
  sleep 2
done
