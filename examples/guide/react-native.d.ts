// The types of Expo that speech.ts uses, so that it can be checked without installing Expo.

declare module 'expo-av' {
  export namespace Audio {
    class Sound {
      loadAsync(source: { uri: string }): Promise<unknown>;
      playAsync(): Promise<unknown>;
    }
  }
}

declare module 'expo-file-system' {
  export const documentDirectory: string | null;
  export enum EncodingType {
    UTF8 = 'utf8',
    Base64 = 'base64',
  }
  export function writeAsStringAsync(
    fileUri: string,
    contents: string,
    options?: { encoding?: EncodingType },
  ): Promise<void>;
}
