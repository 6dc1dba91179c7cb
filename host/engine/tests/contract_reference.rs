//! Test that `docs/reference/contract.md` equals the prose of `wit/policy.wit` as a page. `POSTHOUSE_UPDATE=1` writes the page.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use wit_parser::{
    Docs, Function, FunctionKind, Handle, Interface, Resolve, Type, TypeDef, TypeDefKind, TypeId, WorldItem, WorldKey,
};

const HEAD: &str = "# The contract\n\nMade from `wit/policy.wit`; a test keeps the two equal. What a policy exports is what it is asked; \
what it imports is what it may ask.\n";

#[test]
fn reference_page_matches_the_contract() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page: PathBuf = root.join("docs/reference/contract.md");
    let made = Reference::new(&root.join("wit/policy.wit")).page();
    if std::env::var_os("POSTHOUSE_UPDATE").is_some() {
        std::fs::write(&page, &made).expect("docs/ can be written");
    }
    let found = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        found == made,
        "docs/reference/contract.md is not what wit/policy.wit says: run this test with POSTHOUSE_UPDATE=1"
    );
}

struct Reference {
    resolve: Resolve,
    out: String,
}

impl Reference {
    fn new(wit: &Path) -> Self {
        let mut resolve = Resolve::default();
        resolve.push_file(wit).expect("the contract is WIT");
        Self {
            resolve,
            out: HEAD.to_owned(),
        }
    }

    fn page(mut self) -> String {
        let package = self.resolve.packages.iter().next().expect("one package").1.clone();
        self.push(&format!("Version: `{}`.", package.name));
        self.prose(&package.docs);
        for id in package.interfaces.values() {
            let interface = self.resolve.interfaces[*id].clone();
            self.interface(&interface);
        }
        self.push("## Worlds");
        for (name, id) in &package.worlds {
            let world = self.resolve.worlds[*id].clone();
            self.push(&format!("### `{name}`"));
            self.prose(&world.docs);
            let names = |items: &mut dyn Iterator<Item = (&WorldKey, &WorldItem)>| {
                let names: Vec<String> = items.map(|(key, _)| self.world_name(key)).collect();
                names.join(", ")
            };
            let imports = names(&mut world.imports.iter());
            let exports = names(&mut world.exports.iter());
            self.push(&format!("Imports {imports}."));
            if !exports.is_empty() {
                self.push(&format!("Exports {exports}."));
            }
        }
        self.out
    }

    fn world_name(&self, key: &WorldKey) -> String {
        let name = match key {
            WorldKey::Name(name) => name.clone(),
            WorldKey::Interface(id) => self.resolve.interfaces[*id].name.clone().unwrap_or_default(),
        };
        format!("`{name}`")
    }

    fn push(&mut self, text: &str) {
        let _ = write!(self.out, "\n{text}\n");
    }

    fn prose(&mut self, docs: &Docs) {
        if let Some(text) = &docs.contents {
            self.push(text.trim());
        }
    }

    fn interface(&mut self, interface: &Interface) {
        self.push(&format!("## `{}`", interface.name.clone().unwrap_or_default()));
        self.prose(&interface.docs);
        for (name, id) in &interface.types {
            let definition = self.resolve.types[*id].clone();
            if !matches!(definition.kind, TypeDefKind::Type(_)) {
                self.definition(name, *id, &definition, interface);
            }
        }
        for function in interface.functions.values() {
            if matches!(function.kind, FunctionKind::Freestanding) {
                self.function(function);
            }
        }
    }

    fn definition(&mut self, name: &str, id: TypeId, definition: &TypeDef, interface: &Interface) {
        let kind = match definition.kind {
            TypeDefKind::Record(_) => "record",
            TypeDefKind::Variant(_) => "variant",
            TypeDefKind::Enum(_) => "enum",
            TypeDefKind::Resource => "resource",
            _ => "type",
        };
        self.push(&format!("### {kind} `{name}`"));
        self.prose(&definition.docs);
        let rows: Vec<(String, Option<String>)> = match &definition.kind {
            TypeDefKind::Record(record) => record
                .fields
                .iter()
                .map(|field| {
                    (
                        format!("{}: {}", field.name, self.type_name(&field.ty)),
                        field.docs.contents.clone(),
                    )
                })
                .collect(),
            TypeDefKind::Variant(variant) => variant
                .cases
                .iter()
                .map(|case| {
                    let payload = case
                        .ty
                        .map(|ty| format!("({})", self.type_name(&ty)))
                        .unwrap_or_default();
                    (format!("{}{payload}", case.name), case.docs.contents.clone())
                })
                .collect(),
            TypeDefKind::Enum(cases) => cases
                .cases
                .iter()
                .map(|case| (case.name.clone(), case.docs.contents.clone()))
                .collect(),
            _ => Vec::new(),
        };
        if !rows.is_empty() {
            self.rows(&rows);
        }
        for function in interface.functions.values() {
            let belongs = match function.kind {
                FunctionKind::Method(of) | FunctionKind::Static(of) | FunctionKind::Constructor(of) => of == id,
                _ => false,
            };
            if belongs {
                self.function(function);
            }
        }
    }

    fn rows(&mut self, rows: &[(String, Option<String>)]) {
        let mut list = String::new();
        for (item, docs) in rows {
            let text = docs
                .as_deref()
                .unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ");
            let _ = match text.is_empty() {
                true => writeln!(list, "- `{item}`"),
                false => writeln!(list, "- `{item}`: {text}"),
            };
        }
        self.push(list.trim_end());
    }

    fn function(&mut self, function: &Function) {
        let is_argument = |name: &str| name != "self";
        let parameters: Vec<String> = function
            .params
            .iter()
            .filter(|parameter| is_argument(&parameter.name))
            .map(|parameter| format!("{}: {}", parameter.name, self.type_name(&parameter.ty)))
            .collect();
        let result = function
            .result
            .map(|ty| format!(" -> {}", self.type_name(&ty)))
            .unwrap_or_default();
        let name = function.name.rsplit('.').next().unwrap_or(&function.name);
        self.push(&format!("### `{name}({}){result}`", parameters.join(", ")));
        self.prose(&function.docs);
    }

    fn type_name(&self, ty: &Type) -> String {
        match ty {
            Type::Bool => "bool".to_owned(),
            Type::U8 => "u8".to_owned(),
            Type::U16 => "u16".to_owned(),
            Type::U32 => "u32".to_owned(),
            Type::U64 => "u64".to_owned(),
            Type::String => "string".to_owned(),
            Type::Id(id) => self.defined(*id),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    fn defined(&self, id: TypeId) -> String {
        let definition = &self.resolve.types[id];
        if let Some(name) = &definition.name {
            return name.clone();
        }
        let optional = |ty: &Option<Type>| ty.map_or("_".to_owned(), |ty| self.type_name(&ty));
        match &definition.kind {
            TypeDefKind::Option(ty) => format!("option<{}>", self.type_name(ty)),
            TypeDefKind::List(ty) => format!("list<{}>", self.type_name(ty)),
            TypeDefKind::Result(result) => format!("result<{}, {}>", optional(&result.ok), optional(&result.err)),
            TypeDefKind::Tuple(tuple) => {
                let parts: Vec<String> = tuple.types.iter().map(|ty| self.type_name(ty)).collect();
                format!("tuple<{}>", parts.join(", "))
            }
            TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", self.defined(*id)),
            TypeDefKind::Handle(Handle::Own(id)) => self.defined(*id),
            other => panic!("{other:?} has no name"),
        }
    }
}
