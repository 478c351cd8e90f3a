// A test compiles this example also where the packages of the example are not installed.
declare module '@ffmpeg-installer/ffmpeg' {
  const ffmpeg: { readonly path: string };
  export default ffmpeg;
}
