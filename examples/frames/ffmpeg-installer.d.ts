// The compiler of the repository reads this example for a test, also where its packages are not installed.
declare module '@ffmpeg-installer/ffmpeg' {
  const ffmpeg: { readonly path: string };
  export default ffmpeg;
}
