{
  deepLinking: true,
  tryItOutEnabled: true,
  // The one parameter of Swagger UI's function for plugins is its system, with React and the document.
  plugins: [
    (system) => ({
      wrapComponents: {
        responses: (Responses) => (props) => {
          const { createElement } = system.React;
          const samples = system.getSystem().specSelectors
            .specJson().getIn(["paths", props.path, props.method, "x-codeSamples"]);
          const shown = samples && createElement("div", { className: "opblock-section" },
            createElement("div", { className: "opblock-section-header" },
              createElement("h4", { className: "opblock-title" }, "Code samples")),
            createElement("div", { className: "table-container" },
              samples.toJS().map((sample) => createElement("details", { key: sample.label },
                createElement("summary", null, sample.label),
                createElement("pre", { className: "microlight" }, sample.source)))));
          return createElement("div", null, shown, createElement(Responses, props));
        },
      },
    }),
  ],
}
